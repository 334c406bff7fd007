"""Readers of user files: round trips of tables, one photo in many modes, and cases one by one.

Tables of known rows are written in every dialect and read back; a cell, name or line that is lost
or changed without a note ends the run. A photo and its gray and cut-out forms are written in many
modes and formats, and embedded: the least cosine of two files that show the same is printed. Each
file below `--cases`, a folder with one folder per case, is read as a command reads it.
"""

import argparse
import tempfile
from pathlib import Path

from tests.unit.data import test_image_modes as modes
from tests.unit.data import test_table_dialects as dialects

from graftwerk.data.columns import ColumnChoice
from graftwerk.data.documents import formats
from graftwerk.data.image_folder import read_captioned
from graftwerk.data.images import open_image
from graftwerk.data.labels import looks_like_lists, name_labels
from graftwerk.data.load import read_examples
from graftwerk.data.tables import SUFFIXES, read_table, usual_target
from graftwerk.errors import GraftError
from graftwerk.models.encoders import load_encoder

SHOWN = 88  # characters of a note


def round_trips(count: int) -> None:
    total = 0
    for check in dialects.CHECKS:
        with tempfile.TemporaryDirectory() as folder:
            total += sum(check(Path(folder), count // len(dialects.CHECKS)).values())
    print(f"\n{total:,} round trips, 0 cells, names or lines lost or changed without a note")


def image_modes() -> None:
    encoder = load_encoder("builtin/blocks-clip")
    groups: dict[bytes, list[str]] = {}
    files = modes.SAME | modes.NEAR
    for name, (_, shown, _) in files.items():
        groups.setdefault(shown.convert("RGB").tobytes(), []).append(name)
    least = 1.0
    with tempfile.TemporaryDirectory() as folder:
        for names in groups.values():
            opened = [modes.opened(Path(folder), files[name][0]) for name in names]
            vectors = encoder.encode_images([one.image for one in opened])
            least = min(least, float((vectors @ vectors.T).min()))
    print(f"\n{len(files)} modes and formats of one photo: least cosine {least:.4f}")


def outcome(path: Path) -> tuple[str, tuple[str, ...]]:
    """What a file is read as, and the notes; raises where it is refused."""
    suffix = path.suffix.lower()
    if path.is_dir():
        found = read_captioned(path, None)
        return f"{len(found.pictures)} images with captions", tuple(found.notes)
    if suffix in formats.IMAGES:
        image = open_image(str(path), depth="depth" in str(path))
        return f"image, {image.image.width} x {image.image.height}", image.notes
    if suffix in SUFFIXES:
        return table_outcome(path)
    document = formats.parse(str(path))
    return f"{len(document.blocks)} paragraphs", document.notes


def table_outcome(path: Path) -> tuple[str, tuple[str, ...]]:
    table = read_table(path)
    target = usual_target(table) or list(table.columns)[-1]
    examples = read_examples(path, ColumnChoice(frozenset({"text", "image", "row"}), target))
    labels = examples.labels
    several = looks_like_lists(labels) or any("," in str(label) for label in labels)
    described = () if examples.label_format is None else (examples.label_format.describe(target),)
    names = name_labels(path.name, [] if described else labels, several)
    left = tuple(f"{one.name}: {one.reason}" for one in examples.refused[:1])
    found = len({name for row in names.rows for name in row} or set(labels))
    what = f"{len(examples)} of kind {examples.kind}, {found} labels in {target}; {table.dialect}"
    return what, (*examples.notes, *names.notes, *described, *left)


def cases(folder: Path) -> None:
    counts = {"read": 0, "read, with notes": 0, "refused": 0}
    for case in sorted(one for one in folder.iterdir() if one.is_dir() and one.name[:2].isdigit()):
        if not ("01" <= case.name[:2] <= "35" or case.name.startswith("50")):
            continue
        print(f"\n{case.name}")
        for path in sorted(case.iterdir()):
            if path.name == "README" or (path.is_dir() and path.name == "imgs"):
                continue
            try:
                what, notes = outcome(path)
                verdict = "read, with notes" if notes else "read"
            except GraftError as error:
                verdict, what, notes = "refused", error.message, (error.hint,)
            counts[verdict] += 1
            print(f"  {path.name:24} {verdict}: {what[:SHOWN]}")
            for note in notes:
                print(f"{'':27}{note[:SHOWN]}")
    print(f"\n{', '.join(f'{count} {verdict}' for verdict, count in counts.items())}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench formats", description=__doc__)
    parser.add_argument("--count", type=int, default=dialects.MANY, help="tables to write and read")
    parser.add_argument("--cases", type=Path, help="folder of cases (optional)")
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cases is not None:
        cases(options.cases)
    image_modes()
    round_trips(options.count)


if __name__ == "__main__":
    main()

"""Loading of labeled examples of the kind that a model reads, from any path.

A path is a table, or a folder of class folders or a zip of one, where the folder's name is the
label.
"""

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from .. import folders, limits
from ..errors import BadInput, LimitExceeded, few
from ..results import LeftOut
from ..text_safety import counted
from . import raw
from .columns import KIND_WORDS, Chosen, ColumnChoice, choose_columns, number_of, unread
from .dataset import (
    Examples,
    ImageArray,
    Item,
    Kind,
    Row,
    key_of,
    open_zip,
    packed_image,
    require_some,
    resolve,
)
from .documents.formats import is_image_path
from .image_folder import SPLITS
from .images import ImageNotes
from .labels import require_predicted, stands_for_none
from .tables import (
    NumberFormat,
    Table,
    find_target,
    is_missing,
    is_number,
    is_table,
    read_table,
    usual_target,
    with_one_hot,
)

TEXTS = (".txt", ".md")
_SHOWN = 3
_TRUTHS = {"true": 1, "false": 0}  # in a column that data frames read as numbers
Entry = tuple[PurePosixPath, ImageArray]  # path below the root, location of the file


def read_class_folders(root: Path, encoding: str | None = None) -> Examples:
    """Read every image or text below each class folder of `root`.

    Raises:
        BadInput: there are no class folders, or they look like parts of a split.
        BadFile: it is a zip that cannot be read.
    """
    files = list(list_folder(root))
    entries = [entry for entry in files if kind_of(entry[0]) is not None]
    entries = [entry for entry in _without_common_folder(entries) if len(entry[0].parts) > 1]
    if not entries:
        raise BadInput(
            f"{root} contains no class folders with images or texts in them.",
            folders.hint_for(
                root,
                "Lay it out as CLASS/picture.png, or name a table: .csv, .jsonl, .xlsx, .parquet.",
            ),
        )
    names = {path.parts[0] for path, _ in entries}
    if {name.lower() for name in names} <= SPLITS:
        raise BadInput(
            f"the folders of {root} look like parts of a split, not like classes: "
            f"{', '.join(sorted(names))}.",
            f"Name one of them, for example {root / min(names)}, and another with --test.",
        )
    kinds = [kind_of(path) for path, _ in entries]
    kind: Kind = "image" if kinds.count("image") >= kinds.count("text") else "text"
    entries = [entry for entry in entries if kind_of(entry[0]) == kind]
    found = _read(root, kind, entries, encoding)
    read = {location for _, location in entries}
    others = Counter(path.suffix or path.name for path, at in files if at not in read)
    if not others:
        return found
    shown = few(f"{count:,} {ending}" for ending, count in others.most_common())
    note = f"files beside the {KIND_WORDS[kind]} of the class folders that are not read: {shown}"
    return replace(found, notes=(*found.notes, note))


def look_at(image: ImageArray, notes: ImageNotes) -> str | LeftOut:
    """Return the key of an image, or why it cannot be decoded; count its conversions."""
    try:
        notes.add(image.decode().notes)
        return key_of(image)
    except BadInput as error:
        return LeftOut(name=image.name, reason=error.message)


def list_folder(root: Path) -> Iterator[Entry]:
    """Yield the files of a folder or zip, sorted; hidden ones are left out.

    Raises:
        BadFile: it is a zip that cannot be read.
        LimitExceeded: the folders are nested too deeply.
    """
    if root.is_file():
        members = sorted(e.filename for e in open_zip(str(root)).infolist() if not e.is_dir())
        found = [(PurePosixPath(name), ImageArray(str(root), name)) for name in members]
    else:
        found = []
        for folder, inner, names in os.walk(root):
            inner.sort()
            if len(Path(folder).relative_to(root).parts) > limits.FOLDER_DEPTH:
                raise LimitExceeded(f"{folder} lies too deep.", "Move it up.")
            for name in sorted(names):
                path = Path(folder) / name
                relative = PurePosixPath(path.relative_to(root).as_posix())
                found.append((relative, ImageArray(str(path))))
    for relative, location in found:
        if not any(part.startswith((".", "__MACOSX")) for part in relative.parts):
            yield relative, location


def _without_common_folder(entries: list[Entry]) -> list[Entry]:
    """Strip outer folders that contain everything, as in the zip of a folder."""
    while entries and all(len(path.parts) > 2 for path, _ in entries):
        if len({path.parts[0] for path, _ in entries}) > 1:
            break
        entries = [(PurePosixPath(*path.parts[1:]), location) for path, location in entries]
    return entries


def kind_of(path: PurePosixPath) -> Kind | None:
    """Return whether a file holds an image or a text, by its ending; None for others."""
    if is_image_path(path.name):
        return "image"
    return "text" if path.suffix.lower() in TEXTS else None


def _read(root: Path, kind: Kind, entries: Sequence[Entry], encoding: str | None) -> Examples:
    guessed = Counter[str]()
    found = (
        (
            str(path),
            path.parts[0],
            location if kind == "image" else read_text(location, encoding, guessed),
        )
        for path, location in entries
    )
    examples = _collect(str(root), kind, found)
    notes = tuple(f"{counted(count, 'text')}: {note}" for note, count in guessed.items())
    return replace(examples, notes=notes)


def _collect(source: str, kind: Kind, found: Iterable[tuple[str, Any, Item | LeftOut]]) -> Examples:
    """Return the examples of names, labels and items, without those that cannot be used."""
    items: list[Item] = []
    keys, labels, names, refused = [], [], [], []
    converted = ImageNotes()
    unpacked = 0
    for name, label, item in found:
        key = look_at(item, converted) if isinstance(item, ImageArray) else item
        if isinstance(item, LeftOut) or isinstance(key, LeftOut):
            reason = key.reason if isinstance(key, LeftOut) else ""
            refused.append(LeftOut(name=name, reason=reason))
            continue
        unpacked += len(item) if isinstance(item, str) else 0
        if unpacked > limits.DATA_UNPACKED:
            raise LimitExceeded(
                f"the texts in {source} have more than {limits.DATA_UNPACKED:,} characters.",
                "Take a sample of them.",
            )
        items.append(item)
        keys.append(str(key) if isinstance(item, ImageArray) else key_of(item))
        labels.append(label)
        names.append(name)
    counts = dict(converted.counts)
    return Examples(source, kind, items, keys, labels, names, tuple(refused), converted=counts)


def read_text(location: ImageArray, encoding: str | None, guessed: Counter[str]) -> str | LeftOut:
    """Return the text of a file, or the reason why it cannot be used; count guessed encodings."""
    try:
        content = location.content()
        if len(content) > limits.DATA_TEXT:
            return LeftOut(
                name=location.name, reason=f"it has more than {limits.DATA_TEXT:,} bytes."
            )
        text, found = raw.decode(content, location.name, encoding)
    except BadInput as error:
        return LeftOut(name=location.name, reason=error.message)
    guessed.update(raw.encoding_notes(found, encoding))
    return text.strip() or LeftOut(name=location.name, reason="it is empty.")


def read_examples(path: str | Path, requested: ColumnChoice) -> Examples:
    """Read labeled data.

    Rows without a label or content, and images that cannot be decoded, are left out and named
    in `refused`.

    Raises:
        BadFile: the data do not exist or are malformed.
        BadInput: a column is not there, nothing is left, or the model does not read such data.
        LimitExceeded: they are too large.
    """
    location = resolve(path)
    if not is_table(location) and (location.is_dir() or location.suffix.lower() == ".zip"):
        if requested.target is not None or requested.content:
            raise BadInput(
                f"{location} is a folder of classes and has no columns.",
                "Leave --target and --content out: the folders' names are the labels.",
            )
        examples = read_class_folders(location, requested.reading.encoding)
        if examples.kind not in requested.reads:
            raise unread(examples.source, examples.kind, requested)
        return require_some(examples)
    return require_some(
        _from_table(read_table(location, requested.reading, requested.columns), requested)
    )


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to predict for.

    Attributes:
        items: one for each row that can be read.
        names: name of each row, in the order of the file.
        tables: format of the tables that they come from.
        notes: messages to the user about them.
        columns: all columns of the tables.
        labels: values of the label column, if there is one; None for a label that is not known.
        label_format: format of numeric labels that Python cannot parse as they are.
        refused: rows that cannot be read and why, by their index in `names`.
    """

    items: list[Item]
    names: list[str]
    tables: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    labels: Sequence[Any] = ()
    label_format: NumberFormat | None = None
    refused: Mapping[int, LeftOut] = field(default_factory=dict)

    @property
    def read(self) -> list[int]:
        """Indices of the items in `names`."""
        return [number for number in range(len(self.names)) if number not in self.refused]


def read_items(
    path: str | Path, requested: ColumnChoice, target: str | None, strict: bool = False
) -> Rows:
    """Read the rows of a table as items for predictions; labels are not required.

    Args:
        path: of the table.
        requested: columns to read.
        target: column of the labels, if they are known.
        strict: whether a row that cannot be read is an error.

    Raises:
        BadInput: no row can be read, or a column is not there.
    """
    whole = read_table(resolve(path), requested.reading, requested.content)
    table = with_one_hot(whole, target)
    target = usual_target(table) if target is None else target
    known = table.columns.get(target or "", [None] * len(table.places))
    chosen = choose_columns(table, requested, target)
    columns = _cells_of(table, chosen)
    found = [_item(table, chosen, columns, row) for row in range(len(table.places))]
    items = [item for item in found if not isinstance(item, LeftOut)]
    refused = {row: item for row, item in enumerate(found) if isinstance(item, LeftOut)}
    if refused:
        row, first = next(iter(refused.items()))
        reason = f"{table.places[row]} of {table.path.name}: {first.reason}"
        if strict or not items:
            raise BadInput(reason, "Fix that row.")
    notes = _notes(table, chosen, items)
    if refused:
        notes += (f"{counted(len(refused), 'row')} cannot be read and get no label; {reason}",)
    format_ = table.formats.get(target or "")
    names = list(table.places)
    return Rows(items, names, _tables(table), notes, whole.columns, known, format_, refused)


def _tables(table: Table) -> tuple[str, ...]:
    return (f"{table.path.name}: {table.dialect}",)


def _notes(table: Table, chosen: Chosen, items: Sequence[Item]) -> tuple[str, ...]:
    notes = [f"{table.path.name}: {note}" for note in table.notes]
    if chosen.note:
        notes.append(chosen.note)
    beside = str(table.path.parent)
    images = [item.path for item in items if isinstance(item, ImageArray) and not item.packed]
    elsewhere = sum(not path.startswith(beside) for path in images)
    if elsewhere and chosen.kind == "image":
        notes.append(
            f"{table.path.name}: {elsewhere:,} paths of images start at the current folder, not "
            "at the table"
        )
    missing = sum(int(np.isnan(item.numbers).sum()) for item in items if isinstance(item, Row))
    if missing:
        notes.append(f"{table.path.name}: the mean stands for {missing:,} missing numbers")
    if chosen.kind in {"series", "row"}:
        read = [(name, table.formats[name]) for name in chosen.names if name in table.formats]
        notes += [f"{table.path.name}: {one.describe(name)}" for name, one in read[:_SHOWN]]
        if read[_SHOWN:]:
            notes.append(
                f"{table.path.name}: and {counted(len(read) - _SHOWN, 'more column')} likewise"
            )
    return tuple(notes)


def _from_table(table: Table, requested: ColumnChoice) -> Examples:
    table = with_one_hot(table, requested.target)
    target = find_target(table, requested.target)
    if requested.missing == "ask":
        require_predicted(table.path.name, target, table.column(target))
    chosen = choose_columns(table, _without(requested, target), target)
    columns = _cells_of(table, chosen)

    def read(row: int, label: Any) -> Item | LeftOut:
        unlabelled = is_missing(label) and label != ()
        if unlabelled or (requested.missing == "drop" and stands_for_none(label)):
            return LeftOut(name="", reason=_no_label(label))
        return _item(table, chosen, columns, row)

    rows = enumerate(zip(table.places, table.column(target), strict=True))
    found = (
        (f"{location} of {table.path.name}", label, read(row, label))
        for row, (location, label) in rows
    )
    examples = _collect(str(table.path), chosen.kind, found)
    return replace(
        examples,
        columns=chosen.names,
        notes=_notes(table, chosen, examples.items),
        tables=_tables(table),
        label_format=table.formats.get(target),
        numbers=chosen.numbers,
    )


def _without(requested: ColumnChoice, target: str) -> ColumnChoice:
    """Return the request without the label column among the columns to read."""
    left = tuple(name for name in requested.content if name != target)
    if requested.content and not left:
        raise BadInput(
            f"{target!r} is the column of labels and cannot be what is read too.",
            "Pass another column with --content or --target.",
        )
    return replace(requested, content=left)


def _no_label(label: Any) -> str:
    if is_number(label):
        return "its label is NaN, which is not a number."
    return "no label." if is_missing(label) else f"its label {label.strip()!r} stands for none."


def _cells_of(table: Table, chosen: Chosen) -> list[Sequence[Any]]:
    numbers = chosen.names if chosen.kind == "series" else chosen.numbers
    return [table.numbers(name) if name in numbers else table.column(name) for name in chosen.names]


def _item(
    table: Table, chosen: Chosen, columns: Sequence[Sequence[Any]], row: int
) -> Item | LeftOut:
    cells = [column[row] for column in columns]
    name = table.places[row]
    if chosen.kind == "series":
        return _series(name, chosen.names, cells)
    if chosen.kind == "row":
        return _row(name, chosen, cells)
    parts = [str(cell).strip() for cell in cells if not is_missing(cell)]
    if parts and chosen.kind == "image":
        return packed_image(cells[0], table.path, name) or _located(table, name, cells[0])
    if not parts:
        return LeftOut(name=name, reason=f"nothing in {few(chosen.names)}.")
    return "\n".join(parts)


def _located(table: Table, row: str, cell: Any) -> ImageArray | LeftOut:
    named = str(cell.get("path") if isinstance(cell, dict) else cell).strip()
    beside, here = (folder / named for folder in (table.path.parent, Path.cwd()))
    if not beside.is_file() and "\\" in named:
        return _located(table, row, named.replace("\\", "/"))
    for path in (beside, here):
        if path.is_file():
            return ImageArray(str(path))
    tried = f"{beside} is not there" + (f", nor is {here}" if here != beside else "")
    return LeftOut(name=row, reason=f"{tried}.")


def _series(name: str, columns: Sequence[str], cells: Sequence[Any]) -> Item | LeftOut:
    values = []
    for column, cell in zip(columns, cells, strict=True):
        value = number_of(column, cell)
        if isinstance(value, str):
            return LeftOut(name=name, reason=value)
        values.append(value)
    return np.array(values, dtype=np.float32)


def _row(name: str, chosen: Chosen, cells: Sequence[Any]) -> Item | LeftOut:
    values, texts = [], []
    for column, cell in zip(chosen.names, cells, strict=True):
        if column not in chosen.numbers:
            texts += [] if is_missing(cell) else [str(cell).strip()]
            continue
        missing = is_missing(cell) or stands_for_none(cell)
        known = _TRUTHS.get(str(cell).strip().lower(), cell)
        value = math.nan if missing else number_of(column, known)
        if isinstance(value, str):
            return LeftOut(name=name, reason=value)
        values.append(value)
    if not texts and all(map(math.isnan, values)):
        return LeftOut(name=name, reason=f"nothing in {few(chosen.names)}.")
    return Row(np.array(values, dtype=np.float32), "\n".join(texts))

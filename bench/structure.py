"""The shape of the source: how much there is, how it is cut, how far a command is from arithmetic.

Each row has the aim beside the figure; tests/budget holds the figures to the ceilings below.
"""

import argparse
import ast
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "graftwerk"
SMALL = 60  # lines
LIGHT = ("numpy", "torch", "scipy", "PIL", "sklearn", "onnxruntime", "transformers")
# words that the language of the code leaves behind, where they can mean nothing else
WORDS = """
    picture drawn drawing wanted told lesson taught teaching tally witness unfamiliar foreign anew
    joints seal ingredients halves mend surroundings tellings unsaid foretold newborn unborn fights
    strawman strawmen brought kept
""".split()
# uses that stay, by word, and why
ALLOWED = {
    "pictures": (177, "JSON key of reports, content of recipes' caches"),
    "picture": (71, "JSON key of reports, field of rendered scenes"),
    "joints": (143, "of a body, in pose conditions"),
    "drawn": (80, "JSON key of `condition`; lines of a drawing or a condition map"),
    "drawing": (47, "a sketch by hand, which scribbles are made of"),
    "drawings": (3, "as drawing"),
    "kept": (86, "JSON key of reports; the ordinary verb in sentences"),
    "unfamiliar": (36, "JSON key of reports"),
    "seal": (10, "file and field of an index and of graft.json"),
    "fights": (5, "JSON key of `generate`"),
    "anew": (4, "JSON key of `generate`"),
    "surroundings": (4, "field of an image's record"),
    "strawman": (3, "the lecture's term, in the tour"),
    "ingredients": (2, "field of a recipe's graft.json"),
    "foreign": (2, "SQLite's foreign keys"),
    "brought": (2, "identity of a training's conditions in its checkpoints; an irregular verb"),
    "told": (2, "an irregular verb; a sentence of an example"),
}


@dataclass(frozen=True)
class Limit:
    """What a figure may be, and what it shall become.

    Attributes:
        ceiling: that tests hold; lower it whenever the figure falls.
        aim: where it is going.
    """

    ceiling: float
    aim: float


LIMITS = {
    "lines in src": Limit(70_400, 36_000),
    "files under 60 lines": Limit(14, 14),
    "files in the largest folder": Limit(16, 16),
    "longest function": Limit(62, 60),
    "request modules that `graft --help` imports": Limit(0, 0),
    "heavy packages that `graft --help` imports": Limit(0, 0),
    "words of the old language": Limit(0, 0),
}


def sources() -> list[Path]:
    """Source files; the `__init__.py` that only name a folder are not among them."""
    found = sorted(SOURCE.rglob("*.py"))
    return [p for p in found if p.name != "__init__.py" or len(lines_of(p)) > 1]


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def small_files() -> int:
    return sum(len(lines_of(path)) < SMALL for path in sources() if path.name != "__init__.py")


def folders() -> Counter[str]:
    """Source files of each folder, `__init__.py` aside."""
    files = [path for path in SOURCE.rglob("*.py") if path.name != "__init__.py"]
    return Counter(path.parent.relative_to(SOURCE).as_posix() for path in files)


def longest_function() -> int:
    longest = 0
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                longest = max(longest, (node.end_lineno or 0) - node.lineno + 1)
    return longest


def words_left() -> Counter[str]:
    """Uses of words of the old language in identifiers, texts and comments."""
    pattern = re.compile(rf"(?<![a-z])(?:{'|'.join(WORDS)})s?(?![a-z])", re.IGNORECASE)
    found: Counter[str] = Counter()
    for path in SOURCE.rglob("*.py"):
        # parts of CamelCase stand alone, as those of snake_case do
        text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", path.read_text("utf-8"))
        found.update(match.group().lower() for match in pattern.finditer(text))
    return found


def unallowed(found: Counter[str]) -> Counter[str]:
    """What is used more often than is allowed."""
    return found - Counter({word: most for word, (most, _) in ALLOWED.items()})


def modules_of_help() -> list[str]:
    """Modules that are loaded once `graft --help` has been shown."""
    code = (
        "import sys\nfrom graftwerk.cli import main\nmain(['--help'])\n"
        "sys.stderr.write(' '.join(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr.split()


def requests_of_help(modules: list[str]) -> list[str]:
    """Those that declare requests, each of which builds models of pydantic."""
    light = {"graftwerk.requests.base"}
    return [m for m in modules if m.startswith("graftwerk.requests.") and m not in light]


def heavy_of_help(modules: list[str]) -> list[str]:
    return [name for name in LIGHT if name in modules]


def entered(work: Callable[[], object], file: str, function: str) -> list[str]:
    """Source files with a function that is called before the arithmetic begins.

    Args:
        work: what is carried out.
        file: of the arithmetic, as its path below the package.
        function: that does it.
    """
    seen: list[str] = []
    arrived = False

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal arrived
        path = Path(frame.f_code.co_filename)
        if arrived or event != "call" or not path.is_relative_to(SOURCE):
            return
        name = path.relative_to(SOURCE).as_posix()
        if name not in seen:
            seen.append(name)
        arrived = (name, frame.f_code.co_name) == (file, function)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    if not arrived:
        raise LookupError(f"{function} of {file} was never called")
    return seen


def paths() -> dict[str, object]:
    """Files from command to arithmetic, and the CPU time of a warm search."""
    import graftwerk
    from graftwerk.examples import HANDBOOK

    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name, graftwerk.Index(Path(name) / "index") as index:
        index.add(HANDBOOK)
        folder = index.folder

        def search(number: int) -> object:
            query = f"What is said about laptops in year {number}?"
            return graftwerk.run(graftwerk.Search(query=query, index=folder))

        def generate(number: int) -> object:
            out = Path(name) / f"images-{number}"
            request = graftwerk.Generate(prompt="a red cube", steps=1, seed=number, out=out)
            return graftwerk.run(request)

        for label, work, file, function in (
            ("search", search, "search/vectors.py", "nearest"),
            ("generate", generate, "diffusion/unet.py", "__call__"),
        ):
            work(1)  # imports, which also call functions, happen here
            files = entered(partial(work, 2), file, function)
            figures[f"files from command to arithmetic, {label}"] = len(files)
        times = []
        for number in range(23):
            begin = time.process_time()
            index.search(f"What is said about hotels in year {number}?")
            times.append(1000 * (time.process_time() - begin))
        figures["warm Index.search, CPU milliseconds"] = round(statistics.median(times[3:]), 1)
    return figures


def readme_errors() -> int:
    """Errors that `mypy --strict` finds in the Python blocks of the README, taken together."""
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "readme.py"
        path.write_text("\n".join(blocks), "utf-8")
        command = [sys.executable, "-m", "mypy", "--strict", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return sum(": error:" in line and "readme.py" in line for line in done.stdout.splitlines())


def cheap() -> dict[str, float]:
    """The figures that are held to ceilings."""
    modules = modules_of_help()
    return {
        "lines in src": sum(len(lines_of(path)) for path in SOURCE.rglob("*.py")),
        "files under 60 lines": small_files(),
        "files in the largest folder": max(folders().values()),
        "longest function": longest_function(),
        "request modules that `graft --help` imports": len(requests_of_help(modules)),
        "heavy packages that `graft --help` imports": len(heavy_of_help(modules)),
        "words of the old language": unallowed(words_left()).total(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench structure", description=__doc__)
    parser.add_argument("--data", help="not used")
    parser.add_argument("--quick", action="store_true", help="without what runs models or mypy")
    options = parser.parse_args()
    sizes = [len(lines_of(path)) for path in sources()]
    rows: list[tuple[str, object, object]] = [
        ("source files", len(sizes), 200),
        ("median lines of a file", round(statistics.median(sizes)), "60 to 500"),
    ]
    rows += [(name, figure, f"{LIMITS[name].aim:,}") for name, figure in cheap().items()]
    if not options.quick:
        rows += [(name, figure, "") for name, figure in paths().items()]
        rows.append(("errors of mypy --strict in README.md", readme_errors(), 0))
    print(f"{'':50} {'today':>10} {'aim':>10}")
    for name, figure, aim in rows:
        shown = f"{figure:,}" if isinstance(figure, int | float) else str(figure)
        print(f"{name:50} {shown:>10} {aim!s:>10}")
    crowded = ", ".join(f"{name} {n}" for name, n in folders().most_common(4))
    print(f"\nlargest folders: {crowded}")
    print("words: " + ", ".join(f"{word} {n}" for word, n in words_left().most_common()))


if __name__ == "__main__":
    main()

"""Put real output into the `console` blocks of README and docs, or check that it still holds.

    python docs/fill.py            run every `$ graft ...` line and write what it prints
    python docs/fill.py --check    compare instead; exit 1 where something differs

All commands of one page run in order in one new folder that holds the examples. Times are
not compared.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from graftwerk.examples import HANDBOOK, PASSENGERS, QUESTIONS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
WIDTH = {"COLUMNS": "88"}
Start = Callable[[Sequence[str], Path], str]
TIME = re.compile(r"\d+(\.\d+)?(?= (s|ms|paragraphs/s|scenes/s)\b)")


def start(arguments: Sequence[str], folder: Path) -> str:
    """What `graft` prints when it is run with these arguments in this folder."""
    done = subprocess.run(
        [sys.executable, "-m", "graftwerk", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | WIDTH,
    )
    return done.stdout + done.stderr


def run(command: str, folder: Path, start: Start) -> str:
    """What a command prints, with the folder's name left out."""
    arguments = shlex.split(command)
    if arguments[0] != "graft":
        raise SystemExit(f"{command!r}: only graft commands go into a console block")
    text = start(arguments[1:], folder).replace(f"{folder}/", "")
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"


def filled(page: Path, start: Start = start) -> str:
    """The page with every console block run again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        shutil.copytree(HANDBOOK, folder / "handbook")
        shutil.copy(QUESTIONS, folder)
        shutil.copy(PASSENGERS, folder)

        def fill(block: re.Match[str]) -> str:
            commands = [line[2:] for line in block[0].splitlines() if line.startswith("$ ")]
            return "\n".join(f"$ {command}\n{run(command, folder, start)}" for command in commands)

        return BLOCK.sub(fill, page.read_text("utf-8"))


def holds(page: Path, now: str) -> bool:
    """Whether a page shows what its commands print now, times left aside."""
    return TIME.sub("N", now) == TIME.sub("N", page.read_text("utf-8"))


def main() -> int:
    """Fill or check every page."""
    check = sys.argv[1:] == ["--check"]
    stale = []
    for page in PAGES:
        now = filled(page)
        if holds(page, now):
            continue
        stale.append(page.name)
        if not check:
            page.write_text(now, "utf-8")
    for name in stale:
        print(f"{name}: {'differs; run python docs/fill.py' if check else 'filled'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

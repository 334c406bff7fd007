"""Put real output into the `console` blocks of README and docs, or check that it still holds.

    python docs/fill.py            run every `$ graft ...` line and write what it prints
    python docs/fill.py --check    compare instead; exit 1 where something differs

All commands of one page run in order in one new folder that holds the example handbook. Times are
not compared.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from graftwerk.examples import HANDBOOK, QUESTIONS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
TIME = re.compile(r"\d+(\.\d+)?(?= (s|ms|paragraphs/s|scenes/s)\b)")


def run(command: str, folder: Path) -> str:
    """What a command prints, with the folder's name left out."""
    arguments = shlex.split(command)
    if arguments[0] != "graft":
        raise SystemExit(f"{command!r}: only graft commands go into a console block")
    done = subprocess.run(
        [sys.executable, "-m", "graftwerk", *arguments[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"COLUMNS": "88"},
    )
    text = (done.stdout + done.stderr).replace(f"{folder}/", "")
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"


def filled(page: Path) -> str:
    """The page with every console block run anew."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        shutil.copytree(HANDBOOK, folder / "handbook")
        shutil.copy(QUESTIONS, folder)

        def fill(block: re.Match[str]) -> str:
            commands = [line[2:] for line in block[0].splitlines() if line.startswith("$ ")]
            return "\n".join(f"$ {command}\n{run(command, folder)}" for command in commands)

        return BLOCK.sub(fill, page.read_text("utf-8"))


def main() -> int:
    """Fill or check every page."""
    check = sys.argv[1:] == ["--check"]
    stale = []
    for page in PAGES:
        now = filled(page)
        if TIME.sub("N", now) == TIME.sub("N", page.read_text("utf-8")):
            continue
        stale.append(page.name)
        if not check:
            page.write_text(now, "utf-8")
    for name in stale:
        print(f"{name}: {'differs; run python docs/fill.py' if check else 'filled'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

"""Text with weight and colour where a terminal shows it, and places in files."""

import sys
from pathlib import Path

from .printable import printable


def paint(text: str, code: str) -> str:
    """`text` in a colour or weight (ECMA-48), plain where nobody looks."""
    return f"\x1b[{code}m{text}\x1b[0m" if sys.stdout.isatty() else text


def bold(text: str) -> str:
    """Heavy."""
    return paint(text, "1")


def dim(text: str) -> str:
    """Pale."""
    return paint(text, "2")


def place(path: str, line: int | None = None, page: int | None = None) -> str:
    """A file as seen from here, with the line or page in it."""
    try:
        shown = str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        shown = path
    position = f":{line}" if line is not None else f" page {page}" if page is not None else ""
    return printable(shown) + position

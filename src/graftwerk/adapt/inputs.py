"""What is to be predicted for: texts, files, tables, lines of standard input."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import BadInput
from ..search.readers import PICTURES, is_image_path, refuse_missing
from .columns import KIND_WORDS
from .data import read_items
from .examples import Item, Picture, Refused
from .folders import TEXTS, read_text
from .saved import Saved
from .tables import SUFFIXES

_ENDINGS = frozenset({*SUFFIXES, *PICTURES, *TEXTS})


def read_inputs(
    inputs: Sequence[str], saved: Saved, note: Callable[[str], None]
) -> tuple[list[str], list[Item]]:
    """How each input is called, and what it is.

    What has the ending of a table, picture or text, or exists as a file, is a path; a text that
    is one goes in through standard input. `note` is told which columns of a table are read, where
    their names do not say it.

    Raises:
        BadFile: a file is not there or cannot be read.
        BadInput: a file is of a kind that the fit does not read, or there is no input.
    """
    names: list[str] = []
    items: list[Item] = []
    for value in inputs:
        if value == "-":
            lines = sys.stdin.buffer.read().decode("utf-8", "replace").splitlines()
            names += lines
            items += [line if saved.kind == "text" else _file(line, saved) for line in lines]
            continue
        refuse_missing(value, _ENDINGS, _hint(saved))
        exists = os.path.isfile(value)  # noqa: PTH113  a text may be no path that can be asked for
        if exists and Path(value).suffix.lower() in SUFFIXES:
            target = saved.bundle.content["request"]["target"]
            found, places = read_items(value, saved.wanted, target, note)
            items += found
            names += [f"{value}, {place}" for place in places]
            continue
        names.append(value)
        items.append(_file(value, saved) if exists or saved.kind != "text" else value)
    if not items:
        raise BadInput("there is nothing to predict for.", "Give a text, a picture or a table.")
    return names, items


def _file(path: str, saved: Saved) -> Item:
    """One file that is no table."""
    refuse_missing(path, _ENDINGS, _hint(saved))
    exists = os.path.isfile(path)  # noqa: PTH113
    if saved.kind == "image" and exists and is_image_path(path):
        return Picture(path)
    if saved.kind == "text" and Path(path).suffix.lower() in TEXTS:
        text = read_text(Picture(path))
        if isinstance(text, Refused):
            raise BadInput(f"{path!r} cannot be used: {text.reason}", "Mend it or leave it out.")
        return text
    kind = "a picture" if is_image_path(path) else "a file of another kind" if exists else "none"
    raise BadInput(
        f"this fit reads {KIND_WORDS[saved.kind]}, and {path!r} is {kind}.", _hint(saved)
    )


def _hint(saved: Saved) -> str:
    tables = f"a table: {' '.join(SUFFIXES)}"
    if saved.kind == "text":
        return f"Give texts, {' or '.join(TEXTS)} files, or {tables}; - reads texts line by line."
    return f"Give {'picture files, or ' if saved.kind == 'image' else ''}{tables}."

"""Inputs of a command: text, file paths, tables, or standard input.

A path is read or refused, and never treated as text: a value that exists, or that has the
extension of a file, is a path.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from ..errors import BadFile, BadInput
from ..results import LeftOut
from ..text_safety import counted
from . import raw
from .columns import KIND_WORDS, ColumnChoice, image_models
from .dataset import ImageArray, Item, Kind
from .documents.formats import IMAGES, is_image_path, name_notes, refuse_missing
from .documents.formats import SUFFIXES as DOCUMENTS
from .load import TEXTS, Rows, kind_of, list_folder, read_items, read_text
from .tables import SUFFIXES, is_table_file

_OTHERS = (
    ".zip .doc .xls .ppt .pptx .odt .ods .epub .eml .rtf .ipynb .svg .npy .npz .pkl .safetensors"
)
_ENDINGS = frozenset({*DOCUMENTS, *SUFFIXES, *TEXTS, *_OTHERS.split()})
_LINE_END = re.compile(r"\r\n|\n|\r")  # not the separators inside of lines, such as U+2028
_STARTS = ("/", "./", "../", "~/")
_SHOWN = 5  # files of a folder that cannot be read and are named


def read_inputs(
    values: Sequence[str], requested: ColumnChoice, reader: str, strict: bool = False
) -> Rows:
    """Read the inputs of a command, with a name for each.

    Args:
        values: texts, paths, or - for the lines of standard input.
        requested: kinds that are read, and the columns of tables.
        reader: name of what reads them, for messages.
        strict: whether a table row that cannot be read is an error.

    Raises:
        BadFile: a file is not there or cannot be read.
        BadInput: a file is of a kind that is not read, or there is no input.
    """
    read = [_expand(value, requested, reader, strict) for value in values]
    found = join_rows(read)
    if not found.items:
        raise BadInput("standard input contains no line.", "Give one text per line.")
    return found


def list_inputs(values: Sequence[str]) -> list[str]:
    """Return the inputs, and instead of a folder its images or texts, whichever are more."""
    found: list[str] = []
    for value in values:
        if os.path.isdir(value):  # noqa: PTH112
            root = Path(value)
            paths = {kind: _of_kind(root, kind) for kind in ("image", "text")}
            found += paths["image" if len(paths["image"]) >= len(paths["text"]) else "text"]
        else:
            found.append(value)
    return found


def _of_kind(root: Path, kind: str) -> list[str]:
    return [str(root / path) for path, _ in list_folder(root) if kind_of(path) == kind]


def join_rows(parts: Sequence[Rows]) -> Rows:
    """Concatenate several inputs; missing columns are filled with None."""
    if len(parts) == 1:
        return parts[0]
    starts = accumulate((len(part.names) for part in parts[:-1]), initial=0)
    names = dict.fromkeys(name for part in parts for name in part.columns)
    columns = {
        name: [cell for part in parts for cell in part.columns.get(name, [None] * len(part.names))]
        for name in names
    }
    return Rows(
        [item for part in parts for item in part.items],
        [name for part in parts for name in part.names],
        tuple(words for part in parts for words in part.tables),
        tuple(note for part in parts for note in part.notes),
        columns,
        [label for part in parts for label in part.labels],
        next((part.label_format for part in parts if part.label_format is not None), None),
        {
            start + row: why
            for start, part in zip(starts, parts, strict=True)
            for row, why in part.refused.items()
        },
    )


def _expand(value: str, requested: ColumnChoice, reader: str, strict: bool) -> Rows:
    encoding = requested.reading.encoding
    if value == "-":
        text, name = raw.decode(sys.stdin.buffer.read(), "standard input", encoding)
        lines = _LINE_END.split(text.removesuffix("\n"))
        items = [_line(line, requested.reads, reader) for line in lines if text]
        notes = (f"standard input: {note}" for note in raw.encoding_notes(name, encoding))
        return _words(lines[: len(items)], items, tuple(notes))
    if not value.strip():
        raise BadInput(f"the input {value!r} is empty.", "Give a text, a file or a table.")
    if os.path.isdir(value):  # noqa: PTH112
        return _read_folder(Path(value), requested, reader)
    if is_table_file(value):
        found = read_items(value, requested, requested.target, strict)
        return replace(found, names=[f"{value}, {location}" for location in found.names])
    guessed = Counter[str]()
    item = _item(value, requested.reads, reader, encoding, guessed)
    as_name = name_notes(value, any_word=True) if item is value else ()
    return _words([value], [item], (*as_name, *(f"{value}: {note}" for note in guessed)))


def _read_folder(root: Path, requested: ColumnChoice, reader: str) -> Rows:
    """Read the images or texts in a folder, and in those inside it."""
    listed = list(list_folder(root))
    paths = [str(root / path) for path, _ in listed if kind_of(path) in requested.reads]
    if not paths:
        raise BadInput(
            f"{reader} reads {_kinds(requested.reads)}, and the folder {str(root)!r} holds none.",
            _hint(requested.reads, reader, any(kind_of(path) == "image" for path, _ in listed)),
        )
    guessed = Counter[str]()
    encoding = requested.reading.encoding
    found: dict[str, Item] = {}
    refused = []
    for path in paths:
        try:
            found[path] = _item(path, requested.reads, reader, encoding, guessed)
            if isinstance(image := found[path], ImageArray):
                image.decode()
        except BadInput as error:
            found.pop(path, None)
            refused.append(error)
    if not found:
        raise refused[0]
    others = len(listed) - len(paths)
    left = [f"{counted(others, 'file')} of other kinds left out"] if others else []
    left += [f"left out: {error.message}" for error in refused[:_SHOWN]]
    if len(refused) > _SHOWN:
        left.append(f"left out: {len(refused) - _SHOWN:,} more that cannot be read")
    notes = tuple(f"{root}: {note}" for note in (*left, *guessed))
    return _words(list(found), list(found.values()), notes)


def _words(names: list[str], items: list[Item], notes: tuple[str, ...]) -> Rows:
    return Rows(items, names, notes=notes, labels=[None] * len(items))


def _line(line: str, reads: frozenset[Kind], reader: str) -> Item:
    """Return the item for a line of standard input; a text may name an image file."""
    if "text" not in reads:
        return _item(line, reads, reader)
    image = "image" in reads and is_image_path(line) and os.path.isfile(line)  # noqa: PTH113
    return ImageArray(line) if image else line


def _item(
    value: str,
    reads: frozenset[Kind],
    reader: str,
    encoding: str | None = None,
    guessed: Counter[str] | None = None,
) -> Item:
    """Return the item for one input that is not a table: a text or a file."""
    exists = os.path.exists(value)  # noqa: PTH110  a text may be an invalid path
    hint = _hint(reads, reader, exists and is_image_path(value))
    if not exists:
        refuse_missing(value, _ENDINGS, hint)
        path = value.startswith(_STARTS) or value.endswith("/")
        if path and not any(letter.isspace() for letter in value):
            raise BadFile(f"{value!r} does not exist.", hint)
        if "text" in reads:
            return value
    if exists and "image" in reads and is_image_path(value):
        return ImageArray(value)
    if exists and "text" in reads and value.lower().endswith(TEXTS):
        text = read_text(ImageArray(value), encoding, Counter() if guessed is None else guessed)
        if isinstance(text, LeftOut):
            raise BadInput(f"{value!r} cannot be used: {text.reason}", "Fix it or leave it out.")
        return text
    raise BadInput(f"{reader} reads {_kinds(reads)}, and {value!r} is {_what(value)}.", hint)


def _kinds(reads: frozenset[Kind]) -> str:
    return " and ".join(KIND_WORDS[kind] for kind in sorted(reads, reverse=True))


def _what(value: str) -> str:
    if not os.path.exists(value):  # noqa: PTH110
        return "none"
    return "an image" if is_image_path(value) else "a file of another kind"


def _hint(reads: frozenset[Kind], reader: str, image: bool = False) -> str:
    """Return what can be given, or for an image the encoders that read one."""
    if image and reader.startswith("encoder"):
        return f"Name an encoder of images: {image_models('--encoder')}."
    files = [*(TEXTS if "text" in reads else ()), *(IMAGES[:3] if "image" in reads else ())]
    named = f"{' '.join(files)} files, or a folder of them" if files else ""
    tables = f"a table: {' '.join(SUFFIXES)}"
    given = [*(["texts"] if "text" in reads else []), *([named] if named else []), tables]
    last = "; - reads texts line by line" if "text" in reads else ""
    return f"Give {', or '.join(given)}{last}."

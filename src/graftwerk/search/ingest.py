"""Files into an index: read, cut, embed what is new, store; one bad file never stops it.

Vectors for passages and images, by the hash of what the encoder is given.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Union

import numpy as np

from ..data.columns import image_models
from ..data.documents.document import Document
from ..data.documents.formats import is_image_path, options_for, size_and_hash
from ..data.documents.sandbox import Reader
from ..data.image_folder import TABLES, names_images
from ..data.images import ImageNotes
from ..data.tables import AS_FOUND, Reading
from ..errors import BadFile, BadInput, LimitExceeded
from ..models.image_encoder import encode_and_compare
from ..results import Passage, Skipped
from ..types import Encoder, Monitor, Vectors
from .chunking import CHUNKER_VERSION, cut
from .index import Index
from .results import IndexChange
from .rows import Entry, decode_vectors, input_hash, input_text, is_unit, storable

if TYPE_CHECKING:
    from PIL.Image import Image


Input = Union[Passage, "Image"]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Result of embedding a batch of inputs.

    Attributes:
        vectors: by the hash of the input.
        unfamiliar: images unlike what the encoder was trained on; None where it does not tell.
    """

    vectors: dict[bytes, bytes]
    unfamiliar: int | None


def embed(
    inputs: Mapping[bytes, Input], encoder: Encoder, advance: Callable[[int], None]
) -> Embedded:
    """Embed each input once; `advance(count)` is called as they are done, and may raise to stop."""
    texts = {key: input_text(given) for key, given in inputs.items() if isinstance(given, Passage)}
    images = {key: given for key, given in inputs.items() if not isinstance(given, Passage)}
    vectors: dict[bytes, bytes] = {}
    out_of_distribution = None
    if texts:
        encoded = encoder.encode_texts(list(texts.values()), advance=advance)
        vectors.update(zip(texts, _rows(encoded), strict=True))
    if images:
        encoded, distances = encode_and_compare(encoder, list(images.values()), advance)
        vectors.update(zip(images, _rows(encoded), strict=True))
        out_of_distribution = None if distances is None else int((distances > 1).sum())
    return Embedded(vectors, out_of_distribution)


def _rows(vectors: Vectors) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(vectors, dtype="<f4")]


BATCH_PASSAGES = 128  # embedded together and committed together
BATCH_PIXELS = 50_000_000  # of images held in memory at once, about 150 MB


@dataclass(slots=True)
class _Pending:
    """File that has been read and waits for its vectors."""

    path: str
    content_hash: str
    kilobytes: float
    passages: list[Passage]
    digests: list[bytes]
    picture: "Image | None"


class Intake:
    """Adds files to an index, batch by batch.

    Args:
        index: the index, or None when it is to be made with the first file that can be stored.
        open_index: gives the index to write to, for this encoder.
        load: gives the encoder; called when there is something to embed, and only then.
        monitor: informed about progress; may stop the work between batches.
        reading: what the user said about how tables are written; those are read again then.
    """

    def __init__(
        self,
        index: Index | None,
        open_index: Callable[[], Index],
        load: Callable[[], Encoder],
        monitor: Monitor,
        reading: Reading = AS_FOUND,
    ) -> None:
        self.index = index
        self.change = IndexChange()
        self.notes = ImageNotes()
        self._open_index = open_index
        self._load = load
        self._monitor = monitor
        self._reading = reading
        self._stored: Mapping[str, str] = {}
        self._image_folders: set[str] = set()
        self._pending: list[_Pending] = []
        self._kilobytes = 0.0  # done, of which the monitor knows the whole ones

    def add(self, paths: Sequence[str], stored: Mapping[str, str]) -> None:
        """Store the files that are new or changed."""
        self._stored = stored
        self._image_folders = _folders_of_images(paths)
        changed = self._compare(paths)
        total = math.ceil(sum(changed.values()))
        self._monitor.start("adding, in kB", total)
        with Reader(self._reading) as reader:
            for path, kilobytes in changed.items():
                self._read(reader, path, kilobytes)
                if self._is_full():
                    self._flush()
        self._flush()
        self._advance(total - self._kilobytes)  # what rounding left
        self.change.converted = dict(self.notes.counts)

    def remove_vanished(self, folders: Sequence[str], stored: Mapping[str, str]) -> None:
        """Remove files stored from these folders that are no longer on the disk."""
        inside = tuple(folder.rstrip(os.sep) + os.sep for folder in folders)
        gone = [path for path in stored if path.startswith(inside) and not os.path.lexists(path)]
        if gone and self.index is not None:
            self.change.removed += self.index.remove(gone)

    def _compare(self, paths: Sequence[str]) -> dict[str, float]:
        """Return the files to read (new, changed, or tables to read again), with sizes in kB.

        The hashes taken here only say which files to read. A file may change before it is read, so
        what is stored is the hash of the bytes that were read.
        """
        self._monitor.start("comparing files", len(paths))
        changed = {}
        for path in paths:
            try:
                size, content_hash = size_and_hash(path)
            except (BadFile, LimitExceeded) as error:
                self._skip(path, error.text)
            else:
                predicted = options_for(path, self._reading)
                if self._stored.get(path) == content_hash and not predicted:
                    self.change.unchanged += 1
                else:
                    changed[path] = size / 1024
            self._monitor.advance()
        return changed

    def _advance(self, kilobytes: float) -> None:
        before = int(self._kilobytes)
        self._kilobytes += kilobytes
        self._monitor.advance(int(self._kilobytes) - before)

    def _skip(self, path: str, reason: str, kilobytes: float = 0.0) -> None:
        self._advance(kilobytes)
        retained = " What was stored of it before stays." if path in self._stored else ""
        self.change.skipped.append(Skipped(path=path, reason=reason + retained))

    def _read(self, reader: Reader, path: str, kilobytes: float) -> None:
        kind = "image" if is_image_path(path) else "text"
        reads = self._load().reads if self.index is None else self.index.reads
        if kind not in reads:
            what = "an image" if kind == "image" else "text"
            only = " and ".join(reads)
            self._skip(path, f"is {what}, and the encoder reads only {only}.", kilobytes)
            return
        if "image" in reads and self._describes_images(path):
            reason = "describes the images beside it; name it alone to add it as text."
            self._skip(path, reason, kilobytes)
            return
        try:
            document, image = reader.read_with_image(path)
            version = CHUNKER_VERSION if self.index is None else self.index.chunker
            passages = [storable(passage) for passage in cut(document, version)]
        except (BadFile, LimitExceeded) as error:
            self._skip(path, error.text, kilobytes)
            return
        content_hash = document.content_hash
        self._tell(path, document)
        digests = [input_hash(passage, content_hash) for passage in passages]
        self._pending.append(_Pending(path, content_hash, kilobytes, passages, digests, image))

    def _tell(self, path: str, document: Document) -> None:
        """Report how a table was read, and which parts of a document are not read as they are."""
        if document.kind == "image":
            self.notes.add(document.notes)
            return
        name = os.path.basename(path)  # noqa: PTH119
        if document.dialect:
            self.change.tables.append(f"{name}: {document.dialect}")
        for note in document.notes:
            self.change.notes.append(f"{name}: {note}")

    def _describes_images(self, path: str) -> bool:
        """Whether a file is the table of an ImageFolder whose images are added too."""
        folder, name = os.path.split(path)
        return name in TABLES and folder in self._image_folders and names_images(Path(path))

    def _is_full(self) -> bool:
        passages = sum(len(waiting.passages) for waiting in self._pending)
        pixels = sum(
            waiting.picture.width * waiting.picture.height
            for waiting in self._pending
            if waiting.picture is not None
        )
        return passages >= BATCH_PASSAGES or pixels >= BATCH_PIXELS

    def _flush(self) -> None:
        if not self._pending:
            return
        if self.index is None:
            self.index = self._open_index()
        vectors = self._embed(self.index)
        entries = []
        for waiting in self._pending:
            rows = [vectors[digest] for digest in waiting.digests]
            matrix = decode_vectors(rows, self.index.dimension)
            if is_unit(matrix).all():
                again = bool(options_for(waiting.path, self._reading))
                entries.append(
                    Entry(waiting.path, waiting.content_hash, waiting.passages, matrix, again)
                )
            else:
                self._skip(waiting.path, "the encoder gave a vector that is not finite.")
        outcomes = self.index.put_all(entries)
        self.change.added += outcomes.count("added")
        self.change.changed += outcomes.count("changed")
        self.change.unchanged += outcomes.count("unchanged")
        self._pending.clear()

    def _embed(self, index: Index) -> dict[bytes, bytes]:
        waiting = {
            digest: file.picture or passage
            for file in self._pending
            for digest, passage in zip(file.digests, file.passages, strict=True)
        }
        with index.view() as view:
            vectors = view.known_vectors(list(waiting))
        fresh = {digest: given for digest, given in waiting.items() if digest not in vectors}
        kilobytes = sum(file.kilobytes for file in self._pending)
        if fresh:
            share = kilobytes / len(fresh)
            found = embed(fresh, self._load(), lambda count: self._advance(count * share))
            vectors.update(found.vectors)
            if found.unfamiliar is not None:
                self.change.unfamiliar = (self.change.unfamiliar or 0) + found.unfamiliar
        else:
            self._advance(kilobytes)
        total = sum(len(file.digests) for file in self._pending)
        self.change.embedded += len(fresh)
        self.change.reused += total - len(fresh)
        return vectors


def _folders_of_images(paths: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for path in paths:
        folder = os.path.dirname(path) if is_image_path(path) else ""  # noqa: PTH120
        while folder and folder not in found:
            found.add(folder)
            folder = os.path.dirname(folder)  # noqa: PTH120
    return found


def require_something(paths: Sequence[str], skipped: Sequence[Skipped]) -> BadInput:
    """The error for an add that would make an index of nothing."""
    named = ", ".join(paths)
    if not skipped:
        return BadInput(f"there is no file to read in {named}.", "Name files or other folders.")
    shown = "; ".join(f"{skip.path}: {skip.reason.rstrip('.')}" for skip in skipped[:3])
    more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    hint = "Name other files."
    if any(skip.reason.startswith("is an image") for skip in skipped):
        hint = f"Name an encoder of images: {image_models('--encoder')}."
    return BadInput(f"no file in {named} can be stored: {shown}{more}.", hint)

"""Rebuilding of an index with another encoder or another way of splitting passages."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..data.documents.formats import is_image_path
from ..data.documents.sandbox import Reader
from ..data.images import ImageNotes
from ..errors import BadFile, BadInput, Busy, LimitExceeded
from ..results import Passage, Skipped
from ..types import Encoder, Monitor
from .chunking import cut
from .index import Index
from .ingest import BATCH_PASSAGES, embed
from .results import IndexChange
from .rows import Entry, decode_vectors, input_hash, is_unit, storable
from .vector_cache import VectorCache

if TYPE_CHECKING:
    from PIL.Image import Image


_ATTEMPTS = 3  # to finish before another writer changes the files again


def renew(index: Index, encoder: Encoder, base: Mapping[str, str], monitor: Monitor) -> IndexChange:
    """Replace everything by the same files, split and embedded per `base`, in one step.

    Passages are taken from the index; where they have to be cut another way, and for images,
    the files are read again. Until the last moment the index stays as it was.
    """
    work = _Renewer(index, encoder, base, monitor)
    for _ in range(_ATTEMPTS):
        with index.view() as view:
            stored = view.files()
        work.prepare(stored)
        entries = [work.entries[path] for path in stored if path in work.entries]
        if stored and not entries:
            raise BadInput(
                f"no file of the index {index.folder} could be made again: "
                f"{work.skipped[0].path}: {work.skipped[0].reason}",
                "Pass another encoder, or make an index in another folder.",
            )
        if index.replace_all(entries, base, stored):
            work.cache.remove()  # what a search of a static index computed is of no use now
            return IndexChange(
                unchanged=len(entries),
                removed=len(work.skipped),
                embedded=work.embedded,
                reused=work.reused,
                skipped=work.skipped,
                notes=work.notes,
                converted=dict(work.converted.counts),
            )
    raise Busy(f"the index {index.folder} is changed by other processes.", "Wait and try again.")


class _Renewer:
    """Preparation of entries, cached for a second attempt."""

    def __init__(
        self, index: Index, encoder: Encoder, base: Mapping[str, str], monitor: Monitor
    ) -> None:
        self.entries: dict[str, Entry] = {}
        self.skipped: list[Skipped] = []
        self.embedded = self.reused = 0
        self.converted = ImageNotes()
        self.notes: list[str] = []
        self._index = index
        self._encoder = encoder
        self._recut = int(base["chunker"]) != index.chunker
        self._same_encoder = base["fingerprint"] == index.fingerprint
        self._monitor = monitor
        self._vectors: dict[bytes, bytes] = {}
        self.cache = VectorCache(index.folder, base["fingerprint"])

    def prepare(self, stored: Mapping[str, str]) -> None:
        self.skipped.clear()
        self._monitor.start("embedding files", len(stored))
        with Reader() as reader:
            for path, content_hash in stored.items():
                known = self.entries.get(path)
                if known is None or known.content_hash != content_hash:
                    self.entries.pop(path, None)
                    self._prepare_file(reader, path, content_hash)
                self._monitor.advance()

    def _prepare_file(self, reader: Reader, path: str, content_hash: str) -> None:
        is_image = is_image_path(path)
        kind = "image" if is_image else "text"
        if kind not in self._encoder.reads:
            reads = " and ".join(sorted(self._encoder.reads))
            self.skipped.append(
                Skipped(path=path, reason=f"taken out: the encoder reads only {reads}.")
            )
            return
        try:
            passages, image = self._read(reader, path, content_hash, is_image)
        except (BadFile, LimitExceeded) as error:
            self.skipped.append(Skipped(path=path, reason=f"taken out: {error}"))
            return
        digests = [input_hash(passage, content_hash) for passage in passages]
        matrix = decode_vectors(
            self._embed(dict(zip(digests, passages, strict=True)), digests, image),
            self._encoder.dimension,
        )
        if is_unit(matrix).all():
            self.entries[path] = Entry(path, content_hash, passages, matrix)
        else:
            self.skipped.append(
                Skipped(
                    path=path, reason="taken out: the encoder gave a vector that is not a number."
                )
            )

    def _read(
        self, reader: Reader, path: str, content_hash: str, is_image: bool
    ) -> tuple[list[Passage], "Image | None"]:
        image = None
        if is_image or self._recut:
            try:
                document, image = reader.read_with_image(path)
            except BadFile as error:
                raise BadFile(f"it cannot be read: {error.message}", error.hint) from error
            if document.content_hash != content_hash:
                raise BadFile("it has changed.", "Add it again with: graft index add")
            if document.kind == "image":
                self.converted.add(document.notes)
            else:
                name = os.path.basename(path)  # noqa: PTH119  a name of any bytes
                self.notes += [f"{name}: {note}" for note in document.notes]
        if self._recut:
            passages = [storable(passage) for passage in cut(document)]
        else:
            with self._index.view() as view:
                passages = view.passages_of(path)
        return passages, image

    def _embed(
        self, inputs: Mapping[bytes, Passage], digests: list[bytes], image: "Image | None"
    ) -> list[bytes]:
        if self._same_encoder:
            with self._index.view() as view:
                self._vectors.update(view.known_vectors(list(inputs)))
        else:
            self._vectors.update(self.cache.read(list(inputs)))
        fresh = {
            digest: image or passage
            for digest, passage in inputs.items()
            if digest not in self._vectors
        }
        for start in range(0, len(fresh), BATCH_PASSAGES):
            batch = dict([*fresh.items()][start : start + BATCH_PASSAGES])
            made = embed(batch, self._encoder, self._poll).vectors
            self.cache.write(made)  # a rebuild that is interrupted goes on there
            self._vectors.update(made)
        self.embedded += len(fresh)
        self.reused += len(digests) - len(fresh)
        return [self._vectors[digest] for digest in digests]

    def _poll(self, _count: int) -> None:
        """Let the monitor stop a long file; the bar counts files."""
        self._monitor.advance(0)

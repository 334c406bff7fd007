"""Commands that write to an index: add, remove, rebuild (by another encoder or other passages)."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.documents.formats import is_image_path
from ..data.documents.sandbox import Reader
from ..data.images import ImageNotes
from ..data.tables import reading_of
from ..data.walk import list_files, names_of
from ..errors import BadFile, BadInput, Busy, Cancelled, LimitExceeded
from ..models.encoders import suited_encoder
from ..requests.base import DEFAULT_ENCODER
from ..requests.search import IndexAdd
from ..results import Passage, Skipped
from ..types import Encoder, Monitor, report_reading
from .chunking import CHUNKER_VERSION, cut
from .database import is_whole, require_free
from .index import (
    Index,
    Load,
    VectorCache,
    create_or_open,
    describe_base,
    lasting_name,
    load_own_encoder,
    open_index,
)
from .ingest import BATCH_PASSAGES, Intake, embed, require_something
from .results import IndexChange
from .rows import Entry, decode_vectors, input_hash, is_unit, storable

if TYPE_CHECKING:
    from PIL.Image import Image

Choice = tuple[str | None, int | None]  # encoder and hidden layer, where the user named them


def add_files(request: IndexAdd, choice: Choice, load: Load, monitor: Monitor) -> IndexChange:
    """Store files and folders; only what is new or changed is read and embedded.

    Files that vanished from a named folder are taken out. A file that was stored before and
    cannot be read now keeps its former passages, and is reported.
    """
    begin = time.perf_counter()
    folder, paths = request.index, request.paths
    found = list_files(paths)
    with ExitStack() as stack:
        index = None
        if is_whole(folder):
            index = stack.enter_context(open_index(folder))
        else:
            require_free(folder)
        if index is None and choice[0] is None:
            choice = suited_encoder(request, found.files, monitor), choice[1]
        name, layer = _choose(choice, index)

        @cache
        def load_once() -> Encoder:
            encoder = load(name, layer)
            if index is not None:
                index.require_base(describe_base(encoder, name, layer))
            return encoder

        def make() -> Index:
            return stack.enter_context(create_or_open(folder, load_once(), name, layer))

        if index is not None and (name, layer) != (index.encoder_name, index.layer):
            load_once()  # another name may still mean the same weights
        stored = {} if index is None else _stored_files(index)
        intake = Intake(index, make, load_once, monitor, reading_of(request))
        intake.change.skipped.extend(found.skipped)
        try:
            intake.add(_outside(found.files, folder), stored)
            intake.remove_vanished(_folders(paths), stored)
        except Cancelled:
            if intake.index is not None and intake.change.wrote:
                intake.index.refresh()
            raise
        report_reading(intake.change.tables, intake.change.notes, monitor)
        if intake.index is None or not (found.files or intake.change.removed):
            raise require_something(paths, intake.change.skipped)
        if intake.change.wrote or not intake.index.is_fresh():
            monitor.start("writing the snapshot")
            intake.index.refresh()
        return _finished(intake.change, intake.index, begin)


def _choose(choice: Choice, index: Index | None) -> tuple[str, int | None]:
    if index is not None and choice == (None, None):
        return index.encoder_name, index.layer
    default = index.encoder_name if index is not None else DEFAULT_ENCODER
    return lasting_name(choice[0] or default), choice[1]


def _finished(change: IndexChange, index: Index, begin: float) -> IndexChange:
    """Fill in what is known at the end; `begin` is the start by `time.perf_counter`."""
    with index.view() as view:
        change.passages, change.pictures = view.count_passages(), view.count_images()
    change.encoder = index.encoder_name
    change.seconds = time.perf_counter() - begin
    return change


def _stored_files(index: Index) -> dict[str, str]:
    with index.view() as view:
        return view.files()


def _outside(paths: Sequence[str], folder: Path) -> list[str]:
    inside = tuple(f"{name}{os.sep}" for name in names_of(str(folder)))
    return [path for path in paths if not path.startswith(inside)]


def _folders(paths: Sequence[str]) -> list[str]:
    named = [path for path in paths if os.path.isdir(path)]  # noqa: PTH112  a name of any bytes
    return [name for path in named for name in names_of(path)]


def rebuild_index(
    folder: Path, choice: Choice, load: Load, monitor: Monitor, *, upgrade: bool = False
) -> IndexChange:
    """Rebuild an index in one step: until it is done, searches see the former one.

    With another encoder everything is embedded again; where this version cuts passages another
    way, the files are read again. Else full text, snapshot and checksums are written again.
    With `upgrade` the encoder is the one that a static index stands in for.
    """
    begin = time.perf_counter()
    with open_index(folder) as index:
        with index.view() as view:
            change = IndexChange(unchanged=view.count_files())
        if upgrade and choice != (None, None):
            raise BadInput(
                "an upgrade names the encoder itself.", "Leave --upgrade out, or the encoder."
            )
        if upgrade:
            choice = load_own_encoder(index, load).rescorer, None
        known = index.is_cut_as(CHUNKER_VERSION)  # then its files may be gone
        if choice != (None, None) or not known:
            name, layer = _choose(choice, index)
            encoder = load(name, layer)
            base = describe_base(encoder, name, layer)
            base |= {"chunker": str(index.chunker)} if known else {}
            change = renew(index, encoder, base, monitor)
        else:
            monitor.start("making the full text again")
            index.rebuild_words()
        monitor.start("writing the snapshot")
        index.refresh()
        return _finished(change, index, begin)


def remove_files(folder: Path, paths: Sequence[str], monitor: Monitor) -> IndexChange:
    """Remove files or folders from the index; files on disk are untouched and may be gone."""
    begin = time.perf_counter()
    change = IndexChange()
    with open_index(folder) as index:
        stored = _stored_files(index)
        chosen: dict[str, None] = {}
        for path in paths:
            found = _find(path, stored)
            chosen.update(dict.fromkeys(found))
            if not found:
                change.skipped.append(Skipped(path=path, reason="is not in the index."))
        if not chosen:
            raise BadFile(
                f"{', '.join(paths)}: not in the index {folder}.",
                "Paths are those that `graft search` shows; a folder takes out all in it.",
            )
        monitor.start("taking out", len(chosen))
        change.removed = index.remove(list(chosen))
        change.unchanged = len(stored) - change.removed
        index.refresh()
        return _finished(change, index, begin)


def _find(path: str, stored: Mapping[str, str]) -> list[str]:
    locations = set(names_of(path))
    inside = tuple(location.rstrip(os.sep) + os.sep for location in locations)
    return [name for name in stored if name in locations or name.startswith(inside)]


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
            self._skip(path, f"the encoder reads only {reads}.")
            return
        try:
            passages, image = self._read(reader, path, content_hash, is_image)
        except (BadFile, LimitExceeded) as error:
            self._skip(path, error.text)
            return
        digests = [input_hash(passage, content_hash) for passage in passages]
        matrix = decode_vectors(
            self._embed(dict(zip(digests, passages, strict=True)), digests, image),
            self._encoder.dimension,
        )
        if is_unit(matrix).all():
            self.entries[path] = Entry(path, content_hash, passages, matrix)
        else:
            self._skip(path, "the encoder gave a vector that is not a number.")

    def _skip(self, path: str, reason: str) -> None:
        self.skipped.append(Skipped(path=path, reason=f"taken out: {reason}"))

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

"""A search index of files: add, search, ask, verify."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from ..files import real_path
from ..models.encoders import CachingEncoder, load_encoder
from ..models.hub import named_by_user
from ..models.language import load_writer
from ..rag import evidence as grounds
from ..rag.conversation import Conversation
from ..rag.evidence import Asker, Stopwatch
from ..rag.learning import with_reading
from ..rag.results import Answer, Calibration
from ..requests.base import (
    DEFAULT_INDEX,
    Device,
    Mode,
    PathArgument,
    PathArguments,
    checked,
    path_texts,
    texts,
)
from ..requests.search import Ask, Calibrate, IndexAdd, IndexRebuild, IndexRemove, Search
from ..search import index as storage
from ..search.database import FORMAT_VERSION
from ..search.index import VectorCache
from ..search.query import query_of, search
from ..search.results import IndexChange, IndexCheck, IndexState, SearchResult
from ..types import Encoder, Monitor, Silent, Unpicklable, Writer

if TYPE_CHECKING:
    from ..data.image_inputs import ImageLike


class Index(Unpicklable):
    """A search index of passages and their vectors, stored in a folder.

    It is opened at first use and stays open. Changes by other processes are detected. Several
    threads may share one object: a search sees a consistent state while files are being added.

    >>> import graftwerk as gw
    >>> gw.Index("docs.graft")
    <Index 'docs.graft': not opened yet>

    Args:
        folder: folder of the index; created by the first `add` if it does not exist.
        encoder: encoder of a new index, by default `builtin/minilm`, for photographs the model
            `imagenet` if it was fetched; `rebuild` changes it later.
        layer: hidden layer of the encoder to use instead of the last.
        device: where models run: `auto`, `cpu`, `cuda` or `mps`.
    """

    def __init__(
        self,
        folder: PathArgument = DEFAULT_INDEX,
        *,
        encoder: str | None = None,
        layer: int | None = None,
        device: Device = "auto",
    ) -> None:
        (name,) = path_texts(folder)
        request = checked(IndexRebuild, index=name, encoder=encoder, layer=layer, device=device)
        self.folder = request.index
        self._chosen = None if encoder is None else storage.lasting_name(encoder)
        self._layer = layer
        self._named = set[str]() if self._chosen is None else {self._chosen}
        self._device = request.device
        self._lock = threading.RLock()
        self._closed = False
        self._forget()

    def _forget(self) -> None:
        self._storage: storage.Index | None = None
        self._models: dict[tuple[str, int | None], Encoder] = {}
        self._caching: tuple[CachingEncoder, CachingEncoder] | None = None
        self._writer: tuple[tuple[object, ...], Writer] | None = None

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open" if self._storage else "not opened yet"
        return f"<Index {str(self.folder)!r}: {state}>"

    def close(self) -> None:
        """Close the database and release the models; closing twice has no effect."""
        with self._lock:
            if self._storage is not None:
                self._storage.close()
            self._closed = True
            self._forget()

    def search(
        self,
        query: "str | ImageLike",
        *,
        k: int = 10,
        mode: Mode = "hybrid",
        exact: bool = False,
        where: str | Iterable[str] = (),
        rerank: bool = False,
    ) -> SearchResult:
        """Find the passages and images that match a query.

        Args:
            query: text, the path of an image file, a Pillow image or an array.
            k: number of hits.
            mode: `vector` (semantic), `text` (keyword) or `hybrid` (both, fused).
            exact: compare the query with every vector, without a first pass over binary vectors.
            where: conditions on path, name, kind, heading, page or line that all must hold, for
                example `"path like %.md"`.
            rerank: let the trained reader order the first 20 hits of a hybrid search again.

        Returns:
            The hits, best first, one per content (`copies`: duplicates), and the number searched.

        Raises:
            BadInput: a malformed condition, or a query that the index's encoder cannot read.
            BadFile: there is no index, its encoder cannot be loaded, or an image does not exist.
            WrongBase: the encoder of that name is not the one that made the index.
        """
        begin = time.perf_counter()
        image, named = query_of(query)
        options: dict[str, Any] = {"k": k, "mode": mode, "exact": exact, "where": texts(where)}
        options["rerank"] = rerank
        request = checked(Search, query=named, index=self.folder, **options)
        with self._reading() as opened:
            encoder, rescorer = (None, None) if mode == "text" else self._own_encoders(opened)
            options = {name: getattr(request, name) for name in options}
            found = search(opened, encoder, named, **options, rescorer=rescorer, image=image)
        return found.model_copy(update={"seconds": time.perf_counter() - begin})

    def ask(
        self,
        question: str,
        *,
        k: int = 5,
        mode: Mode = "hybrid",
        where: str | Iterable[str] = (),
        writer: str | Writer = "extractive",
        writer_model: str | None = None,
        budget: int = 2048,
        max_tokens: int = 512,
        timeout: float = 60.0,
        evidence: float | None = None,
        show_prompt: bool = False,
        reader: bool = True,
        seed: int = 0,
        monitor: Monitor | None = None,
    ) -> Answer:
        """Answer a question, with citations that are checked against their sources.

        Args:
            question: the question.
            k: number of passages for the writer; with 0 it gets the question alone.
            mode: how passages are found, as in `search`.
            where: conditions on passages, as in `search`.
            writer: `extractive`, an OpenAI-compatible server, a folder, a hub id, or an object.
            writer_model: model to request from a server.
            budget: maximum number of tokens of the prompt.
            max_tokens: maximum number of tokens of the answer.
            timeout: seconds without a response after which a server has failed.
            evidence: answerability threshold instead of the calibrated one, 0 to 1.
            show_prompt: include the prompt as it was sent in the answer.
            reader: let the trained reader, which builtin/minilm has, read the passages.
            seed: passed to a server.
            monitor: receives the answer piece by piece as it is written.

        Raises:
            BadInput: no such writer, or a question that does not fit the budget.
            BadFile: there is no index, or its encoder cannot be loaded.
            WriterFailed: the language model did not return a complete answer.
        """
        watch = Stopwatch()
        request = checked(
            Ask,
            question=question,
            index=self.folder,
            k=k,
            mode=mode,
            where=texts(where),
            writer=writer if isinstance(writer, str) else writer.name,
            writer_model=writer_model,
            budget=budget,
            max_tokens=max_tokens,
            timeout=timeout,
            evidence=evidence,
            show_prompt=show_prompt,
            reader=reader,
            seed=seed,
        )
        with watch.time("open"):
            asker = self._asker(request, writer)
        return asker.ask(request.question, monitor or Silent(), watch)

    def chat(self, *, writer: str | Writer = "extractive", **options: Any) -> Conversation:
        """Return a new conversation, whose questions may lean on those before them.

        Args:
            writer: as in `ask`; a language model also rewrites questions.
            **options: the other options of `ask`, for all questions.

        Raises:
            BadValue: an option is out of range, or there is no such option.
        """
        name = writer if isinstance(writer, str) else writer.name
        ask = partial(checked, Ask, index=self.folder, writer=name, **options)
        ask(question="?")  # refuses bad options now
        return Conversation(ask, partial(self._asker, writer=writer))

    def _asker(self, request: Ask, writer: str | Writer) -> Asker:
        with self._reading() as opened:
            _, reader = self._caching_encoders(opened)
            if "text" not in reader.reads:
                raise BadInput(
                    f"the index's encoder {reader.name} reads only images, and answers are made "
                    "of texts.",
                    "Make an index of documents, with an encoder of texts, in another folder.",
                )
            writes = self._load_writer(request, reader) if isinstance(writer, str) else writer
            found = grounds.find_threshold(request, reader)
        return Asker(
            find=partial(self._find_texts, k=request.k, mode=request.mode, where=request.where),
            reader=reader,
            writer=found.teach(writes),
            threshold=found,
            k=request.k,
            budget=request.budget,
            show_prompt=request.show_prompt,
        )

    def status(self) -> IndexState:
        """Return the contents of the index and the encoder that made it.

        Raises:
            BadFile: there is no index.
            Damaged: its database cannot be read.
        """
        with self._reading() as opened:
            try:
                _, calibrated = self._calibration(opened)
            except BadInput as error:
                calibrated = f"unknown: {error.message}"
            with opened.view() as view:
                return IndexState(
                    index=str(real_path(self.folder)),
                    files=view.count_files(),
                    passages=view.count_passages(),
                    rescored=VectorCache(self.folder, "").count(),
                    pictures=view.count_images(),
                    encoder=opened.encoder_name,
                    fingerprint=opened.fingerprint,
                    dimension=opened.dimension,
                    format_version=FORMAT_VERSION,
                    bytes=sum(p.stat().st_size for p in self.folder.iterdir() if p.is_file()),
                    sealed=opened.sealed,
                    calibrated=calibrated,
                )

    def calibration(self) -> tuple[Calibration | None, str]:
        """Return the calibration that `ask` uses, and a line about its origin."""
        with self._reading() as opened:
            return self._calibration(opened)

    def _calibration(self, opened: storage.Index) -> tuple[Calibration | None, str]:
        encoder, rescorer = self._own_encoders(opened)
        return grounds.find_calibration(self.folder, rescorer or encoder)

    def add(
        self,
        paths: PathArguments,
        *,
        header: bool | None = None,
        separator: str | None = None,
        decimal: str | None = None,
        encoding: str | None = None,
        monitor: Monitor | None = None,
    ) -> IndexChange:
        """Add files and folders; only new or changed files are read and embedded.

        Files that have vanished from a named folder are removed. A stored file that can no longer
        be read keeps its previous passages, and is reported.

        Args:
            paths: a file or folder, or several.
            header: whether the first row of a table has the column names; None to detect it.
            separator: separator of the cells of a table; None to detect it.
            decimal: decimal mark in tables; None to detect it.
            encoding: encoding of tables; None to detect it.
            monitor: informed about progress; may stop the work by raising `Cancelled`.

        Raises:
            BadInput: there is no file to read, or none that can be stored in a new index.
            BadFile: a path does not exist, or the folder cannot be an index.
            WrongBase: the index was made with another encoder.
            Busy: another process writes to it for too long.
            NoRoom: the disk is full; files stored before are intact.
            Cancelled: stopped by the monitor; files stored before remain.
        """
        read: dict[str, Any] = {"header": header, "separator": separator, "decimal": decimal}
        read |= {"encoding": encoding, "paths": path_texts(paths), "device": self._device}
        request = checked(IndexAdd, index=self.folder, **read)
        self._require_open()
        from ..search.writing import add_files

        return add_files(request, (self._chosen, self._layer), self._load, monitor or Silent())

    def remove(self, paths: PathArguments, *, monitor: Monitor | None = None) -> IndexChange:
        """Remove files or folders from the index; those on disk are not touched or needed.

        Raises:
            BadFile: there is no index, or none of the paths is in it.
            Busy: another process writes to it for too long.
            NoRoom: the folder cannot be written; nothing was removed.
        """
        request = checked(IndexRemove, paths=path_texts(paths), index=self.folder)
        self._require_open()
        from ..search.writing import remove_files

        return remove_files(self.folder, request.paths, monitor or Silent())

    def rebuild(
        self,
        *,
        encoder: str | None = None,
        layer: int | None = None,
        upgrade: bool = False,
        monitor: Monitor | None = None,
    ) -> IndexChange:
        """Rebuild vectors, full text and snapshot; until then, searches use the old ones.

        Args:
            encoder: change the index to this encoder.
            layer: hidden layer of the encoder to use instead of the last.
            upgrade: change a static index to the full encoder that it stands in for; the vectors
                that searches have computed are used.
            monitor: informed about progress; may stop the work by raising `Cancelled`.

        Raises:
            BadFile: there is no index, or the encoder cannot be loaded.
            BadInput: the encoder reads none of its files, or one is named with `upgrade`.
            Busy: another process writes to it for too long.
            NoRoom: the disk is full; the index is unchanged.
            Cancelled: stopped by the monitor; the index is unchanged.
        """
        request = checked(IndexRebuild, index=self.folder, encoder=encoder, layer=layer)
        self._require_open()
        choice = (request.encoder, request.layer)
        with self._lock:
            self._models.clear()  # the weights of a name may have changed
            if encoder is not None:
                self._named.add(storage.lasting_name(encoder))
        from ..search.writing import rebuild_index

        change = rebuild_index(
            self.folder, choice, self._load, monitor or Silent(), upgrade=upgrade
        )
        with self._lock:
            if upgrade or encoder is not None or layer is not None:
                self._chosen, self._layer = None, None  # from now on those of the index
        return change

    def verify(
        self, *, sources: bool = False, repair: bool = False, monitor: Monitor | None = None
    ) -> IndexCheck:
        """Check every stored text, vector and byte, and measure the approximate search.

        Args:
            sources: also compare the stored files with those on disk.
            repair: repair what is damaged from the stored texts.
            monitor: informed about progress.

        Raises:
            BadFile: there is no index.
            Busy: another process writes to it for too long.
            Damaged: its database cannot be opened, so it cannot be repaired.
        """
        self._require_open()
        from ..search.verify import verify_index

        return verify_index(
            self.folder,
            repair=repair,
            sources=sources,
            load=self._load,
            monitor=monitor or Silent(),
        )

    def calibrate(
        self,
        answerable: Iterable[str],
        unanswerable: Iterable[str],
        *,
        sentences: Mapping[str, str] | None = None,
        false_answer_rate: float = 0.1,
        source: str = "this index's own calibration",
        monitor: Monitor | None = None,
    ) -> Calibration:
        """Set and store the answerability threshold of this index from example questions.

        Args:
            answerable: questions that the documents answer.
            unanswerable: questions that they do not answer.
            sentences: by question, words of the sentence that answers; the reading learns from ten.
            false_answer_rate: share of the unanswerable questions that may be answered.
            source: origin of the questions, for reports.
            monitor: informed about progress.

        Raises:
            BadInput: too few questions of a kind.
        """
        checked(Calibrate, file="-", index=self.folder, false_answer_rate=false_answer_rate)
        with self._reading() as opened:
            _, reader = self._caching_encoders(opened)
        asks = (cache(self._find_texts), reader, monitor or Silent())
        yes, no = grounds.measure_all((list(answerable), list(unanswerable)), *asks)
        made = grounds.calibrate(yes, no, false_answer_rate, reader, source)
        made = with_reading(made, sentences or {}, *asks)
        grounds.save_calibration(self.folder, made)
        return made

    @contextmanager
    def _reading(self) -> Iterator[storage.Index]:
        """Yield the current database; other readers of this object wait."""
        with self._lock:
            self._require_open()
            if self._storage is not None and not self._storage.is_current():
                self._storage.close()
                self._forget()
            if self._storage is None:
                opened = storage.open_index(self.folder)
                try:
                    self._require_chosen(opened)
                except BaseException:
                    opened.close()
                    raise
                self._storage = opened
            yield self._storage

    def _require_open(self) -> None:
        if self._closed:
            raise BadInput(f"the index {self.folder} was closed.", "Open it again: Index(folder).")

    def _require_chosen(self, opened: storage.Index) -> None:
        chosen, own = (self._chosen or opened.encoder_name, self._layer), opened.encoder_name
        if (self._chosen, self._layer) != (None, None) and chosen != (own, opened.layer):
            encoder = self._load(*chosen)  # another name may still have the same weights
            opened.require_base(storage.describe_base(encoder, *chosen))

    def _load(self, name: str, layer: int | None) -> Encoder:
        with self._lock:
            if (name, layer) not in self._models:
                # a name that only the index contains is never downloaded
                with named_by_user(self._named) if self._named else nullcontext():
                    self._models[name, layer] = load_encoder(name, layer=layer, device=self._device)
            return self._models[name, layer]

    def _own_encoders(self, opened: storage.Index) -> tuple[Encoder, Encoder | None]:
        """Return the index's encoder, and the one that its first hits are rescored with."""
        encoder = storage.load_own_encoder(opened, self._load)
        return encoder, self._load(encoder.rescorer, None) if encoder.rescorer else None

    def _caching_encoders(self, opened: storage.Index) -> tuple[CachingEncoder, CachingEncoder]:
        if self._caching is None:
            encoder, rescorer = self._own_encoders(opened)
            finder = CachingEncoder(encoder)
            self._caching = finder, finder if rescorer is None else CachingEncoder(rescorer)
        return self._caching

    def _find_texts(
        self, question: str, k: int = 0, mode: Mode = "hybrid", where: Sequence[str] = ()
    ) -> SearchResult:
        """Find the best `k` or `EVIDENCE_HITS` text passages, whichever is more."""
        k = max(k, grounds.EVIDENCE_HITS)
        with self._reading() as opened:
            finder, reader = self._caching_encoders(opened)
            rescorer = None if reader is finder else reader
            where = [*where, *(["kind = text"] if "image" in finder.reads else [])]
            return search(opened, finder, question, k=k, mode=mode, where=where, rescorer=rescorer)

    def _load_writer(self, request: Ask, reader: CachingEncoder) -> Writer:
        names = ("max_tokens", "timeout", "seed", "reader")
        options = {name: getattr(request, name) for name in names} | {"model": request.writer_model}
        key = (request.writer, *options.values())
        if self._writer is None or self._writer[0] != key:
            with named_by_user([request.writer]):
                made = load_writer(request.writer, encoder=reader, device=self._device, **options)
            self._writer = key, made
        return self._writer[1]

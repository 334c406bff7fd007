"""An index on disk: opening, creating, writing. Readers use `search.rows.View`.

`graft.sqlite` holds everything; `vectors.safetensors` is made from it for speed, `seal.json` holds
checksums of both while the last write ended well. A file's passages and vectors are committed
together or not at all, and rows are never changed, only put in and taken out.

Vectors of the full encoder are kept beside an index until all of it is made with that encoder. A
search of a static index embeds its first hits with the full encoder, and a rebuild embeds all;
neither is done twice. This cache is disposable: each row has a checksum, a file that is damaged is
made again, and where it cannot be written nothing is kept.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from .. import limits
from ..errors import BadFile, BadInput, WrongBase
from ..files import real_path
from ..results import Passage
from ..types import Encoder, Vectors
from . import database
from .chunking import CHUNKER_VERSION
from .rows import (
    Entry,
    Outcome,
    View,
    decode_vectors,
    delete_file,
    file_name,
    input_hash,
    input_text,
    is_unit,
    put_file,
    sha256,
)
from .vectors import Space, read_snapshot, write_snapshot
from .words import SPELLING

_CHECKPOINT_MILLISECONDS = 5_000
Load = Callable[[str, int | None], Encoder]  # name and hidden layer to encoder


def describe_base(encoder: Encoder, encoder_name: str, layer: int | None) -> dict[str, str]:
    """Return the entries of table `meta` that describe how vectors and passages are made."""
    return {
        "encoder": encoder_name,
        "layer": "" if layer is None else str(layer),
        "fingerprint": encoder.fingerprint,
        "dimension": str(encoder.dimension),
        "reads": " ".join(sorted(encoder.reads)),
        "chunker": str(CHUNKER_VERSION),
    }


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and number of the database file; another one may take its place under its name."""
    try:
        status = (folder / database.DATABASE).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def open_index(folder: Path) -> "Index":
    """Open an existing index.

    Raises:
        BadFile: there is none, it is another program's, or of a newer format.
        Damaged: its database cannot be read.
    """
    connection, meta = database.open_database(folder)
    return Index(folder, connection, meta)


def create_or_open(folder: Path, encoder: Encoder, encoder_name: str, layer: int | None) -> "Index":
    """Open the index in `folder` for this encoder, or create an empty one.

    Raises:
        WrongBase: the index was made with another encoder.
        BadFile: the folder is a file or holds something else.
        NoRoom: it cannot be made; nothing is left behind.
    """
    base = describe_base(encoder, encoder_name, layer)
    if not database.is_whole(folder):
        database.create(folder, base)
    index = open_index(folder)
    try:
        index.require_base(base)
    except BaseException:
        index.close()
        raise
    return index


class Index:
    """An open index; a context manager. Made by `open_index` and `create_or_open`.

    Attributes:
        layer: hidden layer that its vectors come from, None for the last.
        reads: what its encoder can encode.
        chunker: version of the code that cut its passages.
        connection: its database, for the maintenance modules beside this one.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, meta: dict[str, str]) -> None:
        self.folder = folder
        self.connection = connection
        self._file = _identity(folder)
        self._space: tuple[str, Space] | None = None
        connection.create_function("file_name", 1, file_name, deterministic=True)
        self._take_over(meta)

    def _take_over(self, meta: Mapping[str, str]) -> None:
        self.encoder_name = meta["encoder"]
        self.layer = int(meta["layer"]) if meta["layer"] else None
        self.fingerprint = meta["fingerprint"]
        self.dimension = int(meta["dimension"])
        self.reads = frozenset(meta["reads"].split())
        self.chunker = int(meta["chunker"])

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self.connection.close()

    def is_current(self) -> bool:
        """Whether the folder still holds this database, made with the same encoder and cutting."""
        if self._file != _identity(self.folder):
            return False
        with database.storage_errors(self.folder):
            meta = database.read_meta(self.connection, self.folder)
        layer = "" if self.layer is None else str(self.layer)
        now = (meta["fingerprint"], meta["encoder"], meta["layer"], meta["chunker"])
        return now == (self.fingerprint, self.encoder_name, layer, str(self.chunker))

    @property
    def sealed(self) -> bool:
        """Whether the last write ended well and left its checksums."""
        return database.is_sealed(self.folder)

    def require_base(self, base: Mapping[str, str]) -> None:
        """Check that passages and vectors made with `base` belong in this index.

        Raises:
            WrongBase: another encoder, layer or way of cutting passages; that of the version before
                is still known.
        """
        if base["fingerprint"] != self.fingerprint:
            raise WrongBase(
                f"the index {self.folder}",
                f"encoder {self.encoder_name} ({self.fingerprint[:12]})",
                f"{base['encoder']} ({base['fingerprint'][:12]})",
                "Name another folder with --index, or change this one: graft index rebuild "
                f"--encoder {base['encoder']} --index {self.folder}.",
            )
        if not self.is_cut_as(int(base["chunker"])):
            raise WrongBase(
                f"the index {self.folder}",
                f"passages of version {self.chunker}",
                f"version {base['chunker']}",
                f"Cut them again: graft index rebuild --index {self.folder}",
            )

    def is_cut_as(self, chunker: int) -> bool:
        """Whether its passages are of this version, or of the one before, which is still known."""
        return self.chunker in (chunker, chunker - 1)

    @contextmanager
    def view(self) -> Iterator[View]:
        """Read one consistent state, whatever writers do meanwhile.

        Raises:
            Damaged: the database cannot be read.
            WrongBase: another process changed the index to another encoder.
        """
        with database.storage_errors(self.folder):
            self.connection.execute("BEGIN")
            try:
                yield View(self.connection, self._read_meta())
            finally:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")

    def _read_meta(self) -> dict[str, str]:
        meta = database.read_meta(self.connection, self.folder)
        if meta["fingerprint"] != self.fingerprint:
            raise WrongBase(
                f"the index {self.folder}",
                f"encoder {meta['encoder']} (changed by another process just now)",
                self.encoder_name,
                "Run the command again.",
            )
        return meta

    def space(self, view: View) -> Space:
        """Return the vectors of a view, cached for the next search of the same state."""
        if self._space is None or self._space[0] != view.stamp:
            self._space = (view.stamp, view.space(read_snapshot(self.folder)))
        return self._space[1]

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the lock and one transaction, committed when the block ends without an error."""
        with database.storage_errors(self.folder), database.write_lock(self.folder):
            database.remove_checksum(self.folder)
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                meta = self._read_meta()
                if meta.get("spelling") != SPELLING:
                    database.renew_words(self.connection, meta)
                yield self.connection
                self.connection.execute(
                    "UPDATE meta SET value = value + 1 WHERE key = 'generation'"
                )
                self.connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled it back already
                    self.connection.execute("ROLLBACK")
                raise

    def put(
        self, path: str, content_hash: str, passages: Sequence[Passage], vectors: Vectors
    ) -> None:
        """Store a file, replacing its former passages, in one transaction."""
        self.put_all([Entry(path, content_hash, passages, vectors)])

    def put_all(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Store several files in one transaction; what another writer stored meanwhile stays."""
        for entry in entries:
            self._require_vectors(entry)
        with self.writing() as connection:
            return [put_file(connection, entry) for entry in entries]

    def _require_vectors(self, entry: Entry) -> None:
        if entry.vectors.shape != (len(entry.passages), self.dimension):
            raise ValueError(f"vectors {entry.vectors.shape} for {len(entry.passages)} passages")
        if not is_unit(entry.vectors).all():
            raise BadFile(
                f"{entry.path}: the encoder {self.encoder_name} gave a vector that is not finite "
                "or not of length 1.",
                "Leave the file out, or use another encoder.",
            )

    def remove(self, paths: Sequence[str]) -> int:
        """Remove files by their stored paths; return how many existed."""
        if not paths:
            return 0
        with self.writing() as connection:
            return sum(delete_file(connection, os.fsencode(path)) for path in paths)

    def replace_all(
        self, entries: Sequence[Entry], base: Mapping[str, str], expected: Mapping[str, str]
    ) -> bool:
        """Replace everything with contents made with another base, in one step.

        Returns:
            False, and nothing is replaced, when another writer changed the files meanwhile.
        """
        with self.writing() as connection:
            meta = self._read_meta()
            if View(connection, meta).files() != expected:
                return False
            connection.execute("DELETE FROM passages")
            connection.execute("DELETE FROM files")
            meta.update(base)
            meta["digest"] = database.digest_of(meta)
            del meta["generation"]
            connection.executemany("UPDATE meta SET value = ?2 WHERE key = ?1", meta.items())
            for entry in entries:
                put_file(connection, entry)
        self._take_over(meta)
        return True

    def rebuild_words(self) -> None:
        """Rebuild the full-text index from the stored passages."""
        with self.writing() as connection:
            database.renew_words(connection, self._read_meta())

    def refresh(self) -> None:
        """Write the snapshot and the checksums, for fast searches and a complete `verify`.

        Where readers keep the write-ahead log from being emptied, the index stays unsealed until
        the next write.
        """
        with database.storage_errors(self.folder), database.write_lock(self.folder):
            database.remove_checksum(self.folder)
            with self.view() as view:
                ids, vectors = view.all_vectors()
                write_snapshot(self.folder, view.stamp, ids, vectors)
            self.connection.execute(f"PRAGMA busy_timeout={_CHECKPOINT_MILLISECONDS}")
            busy, _, _ = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self.connection.execute(f"PRAGMA busy_timeout={limits.LOCK_SECONDS * 1000:.0f}")
            if not busy:
                database.write_checksum(self.folder)

    def is_fresh(self) -> bool:
        """Whether snapshot and checksums belong to the current state."""
        snapshot = read_snapshot(self.folder)
        with self.view() as view:
            return self.sealed and snapshot is not None and snapshot.stamp == view.stamp


def load_own_encoder(index: Index, load: Load) -> Encoder:
    """Load the encoder that made an index."""
    try:
        encoder = load(index.encoder_name, index.layer)
    except BadInput as error:
        raise BadFile(
            f"the encoder of the index {index.folder} cannot be loaded: {error.message}",
            f"{_remedy(index.encoder_name)}, or change the index: "
            "graft index rebuild --encoder NAME --index "
            f"{index.folder}; `graft search --mode text` works without it.",
        ) from error
    if encoder.fingerprint != index.fingerprint:
        raise WrongBase(
            f"the index {index.folder}",
            f"encoder {index.encoder_name} with fingerprint {index.fingerprint[:12]}",
            f"the {encoder.name} that is here now, with fingerprint {encoder.fingerprint[:12]}",
            f"Run: graft index rebuild --encoder {encoder.name} --index {index.folder}",
        )
    return encoder


def _remedy(name: str) -> str:
    """How an encoder that an index names is had again; an index itself fetches nothing."""
    if "@" in name and not Path(name).is_absolute():
        return f"Fetch it: graft models info {name}"
    return "Put it back"


def lasting_name(name: str) -> str:
    """Return an encoder's name valid in any working folder: its path made absolute."""
    prefix, colon, rest = name.rpartition(":")
    folder = Path(rest).expanduser()
    return f"{prefix}{colon}{real_path(folder)}" if folder.is_dir() else name


CACHE = "rescored.sqlite"
_TABLE = "CREATE TABLE IF NOT EXISTS vectors(key TEXT PRIMARY KEY, checksum BLOB, vector BLOB)"
_READ = "SELECT key, checksum, vector FROM vectors WHERE key IN (SELECT value FROM json_each(?))"
_BUSY_SECONDS = 1.0  # then the vectors are not kept
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class VectorCache:
    """Vectors of one encoder, by the hash of its input that `rows.input_hash` makes."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._path = folder / CACHE
        self._fingerprint = fingerprint.encode()

    def encode(self, encoder: Encoder, passages: Sequence[Passage]) -> Vectors:
        """Return the vectors of text passages; those that are not kept are computed, then kept."""
        digests = [input_hash(passage, "") for passage in passages]
        known = self.read(digests)
        fresh = {
            digest: input_text(passage)
            for digest, passage in zip(digests, passages, strict=True)
            if digest not in known
        }
        if fresh:
            encoded = encoder.encode_texts(list(fresh.values())).astype("<f4", copy=False)
            made = {digest: row.tobytes() for digest, row in zip(fresh, encoded, strict=True)}
            self.write(made)
            known |= made
        return decode_vectors([known[digest] for digest in digests], encoder.dimension)

    def read(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the vectors that are kept, as bytes."""
        keys = {self._key(digest): digest for digest in digests}
        rows: list[tuple[str, bytes, bytes]] = []
        self._run(lambda found: rows.extend(found.execute(_READ, (json.dumps([*keys]),))))
        return {
            keys[key]: vector
            for key, checksum, vector in rows
            if checksum == sha256(key.encode() + vector)
        }

    def write(self, vectors: Mapping[bytes, bytes]) -> None:
        """Keep vectors, where there is room and permission."""
        keyed = [(self._key(digest), vector) for digest, vector in vectors.items()]
        rows = [(key, sha256(key.encode() + vector), vector) for key, vector in keyed]

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute("PRAGMA synchronous=OFF")  # a torn write is found by its checksum
            with connection:
                connection.execute(_TABLE)
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)

        with suppress(OSError):
            self._path.touch()  # with the rights of the folder's other files
            self._run(insert)

    def count(self) -> int:
        """Return the number of vectors that are kept, of any encoder."""
        counts = [0]
        query = "SELECT count(*) FROM vectors"
        self._run(lambda found: counts.append(found.execute(query).fetchone()[0]))
        return counts[-1]

    def remove(self) -> None:
        """Delete the file."""
        with suppress(OSError):
            self._path.unlink()

    def _key(self, digest: bytes) -> str:
        return sha256(self._fingerprint + digest).hex()

    def _run(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Do some work on the file, or as much of it as is possible."""
        uri = f"{self._path.absolute().as_uri()}?mode=rw"  # rolls an unfinished write back
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)) as connection:
                work(connection)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
                self.remove()

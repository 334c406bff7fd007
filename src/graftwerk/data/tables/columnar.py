"""Parquet and Arrow: columns of known types, with a limit on their unpacked size.

The limit is checked before values are converted to Python objects.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ... import files, limits
from ...errors import BadFile, BadInput, LimitExceeded
from .objects import unnest
from .table import ARROW_SPLITS, ARROW_STATE, Table, require_rows

if TYPE_CHECKING:
    import pyarrow

_BATCH = 65_536  # rows
_VALUE_BYTES = 8  # minimum size of a value in memory
_PREFIXES = "DELTA_BYTE_ARRAY"  # stores the prefix shared with the previous text only once


def read_parquet(path: Path, source: Path | IO[bytes]) -> Table:
    """Read a Parquet file.

    Args:
        path: of the file, for messages.
        source: the file, or its content.

    Raises:
        BadFile: it is not Parquet.
        LimitExceeded: it unpacks to too much, whatever its own size.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(source) as file:
            risky = require_size(path, file.metadata)
        if not isinstance(source, Path):
            source.seek(0)
        # repeated texts stay dictionary-encoded until their total size is known
        flat = [one.name for one in file.schema_arrow if not pyarrow.types.is_nested(one.type)]
        with pyarrow.parquet.ParquetFile(source, read_dictionary=flat) as file:
            rows = limits.DATA_UNPACKED // max(risky, 1) if risky else _BATCH
            size = max(1, min(_BATCH, rows))
            batches = file.iter_batches(batch_size=size, use_threads=False)
            schema, columns = file.schema_arrow, _columns(path, file.schema_arrow, batches)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise BadFile(
            f"{path.name!r} is not a Parquet file: {error}.", "Write it again."
        ) from error
    return _as_table(path, columns, _features_of(schema), "Parquet")


def require_size(path: Path, metadata: Any) -> int:
    """Refuse a file that is known to be too large.

    Returns the size of the largest column that may expand further; 0 if there is none.
    """
    require_rows(path.name, metadata.num_rows)
    total = risky = 0
    for group in range(metadata.num_row_groups):
        for location in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(location)
            width = max(_VALUE_BYTES, metadata.schema.column(location).length or 0)
            total += max(chunk.total_uncompressed_size, chunk.num_values * width)
            nested = "." in chunk.path_in_schema
            if _PREFIXES in chunk.encodings or (nested and chunk.physical_type == "BYTE_ARRAY"):
                risky = max(risky, chunk.total_uncompressed_size)
    if total > limits.DATA_UNPACKED:
        raise _too_large(path, total)
    return risky


def read_arrow_folder(path: Path) -> Table:
    """Read a folder that `datasets.save_to_disk` wrote.

    Raises:
        BadInput: it holds several splits; they are named.
        BadFile: it is damaged, or names files outside of it.
        LimitExceeded: it is too large.
    """
    import pyarrow
    import pyarrow.ipc

    if (path / ARROW_SPLITS).is_file():
        listed = files.read_json(path / ARROW_SPLITS)
        splits = listed.get("splits", []) if isinstance(listed, dict) else []
        raise BadInput(
            f"{path} holds the splits {', '.join(map(str, splits))}.",
            f"Name one of them, for example {path / str((splits or ['train'])[0])}, and another "
            "with --test.",
        )
    parts = _parts(path)
    if sum(part.stat().st_size for part in parts) > limits.DATA_FILE:
        raise _too_large(path, sum(part.stat().st_size for part in parts))
    columns: dict[str, list[Any]] = {}
    schema = None
    try:
        for part in parts:
            with pyarrow.memory_map(str(part)) as mapped, pyarrow.ipc.open_stream(mapped) as reader:
                schema = reader.schema
                for name, values in _columns(path, schema, reader).items():
                    columns.setdefault(name, []).extend(values)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise BadFile(f"{path} is not an Arrow folder: {error}.", "Save it again.") from error
    info = path / "dataset_info.json"
    features = files.read_json(info) if info.is_file() else {}
    found = features.get("features") if isinstance(features, dict) else None
    return _as_table(path, columns, found if isinstance(found, dict) else {}, "Arrow")


def _parts(path: Path) -> list[Path]:
    state = files.read_json(path / ARROW_STATE)
    listed = state.get("_data_files") if isinstance(state, dict) else None
    names = [one.get("filename") for one in listed or () if isinstance(one, dict)]
    if isinstance(state, dict) and state.get("_indices_data_files"):
        raise BadFile(
            f"{path} selects rows by a list of indices, which is not read.",
            "Save it again after flatten_indices().",
        )
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not (path / name).is_file():
            raise BadFile(f"{path / ARROW_STATE} names {name!r}, which is not there.", "Copy all.")
    return [path / str(name) for name in names]


def _columns(
    path: Path, schema: "pyarrow.Schema", batches: Iterator["pyarrow.RecordBatch"]
) -> dict[str, list[Any]]:
    """Return the values of every column; stops before more than the limit is unpacked."""
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    if len(columns) < len(schema.names):
        raise BadFile(f"{path.name!r} has two columns of one name.", "Name them differently.")
    total = 0
    for batch in batches:
        for name, values in zip(schema.names, batch.columns, strict=True):
            total += _unfolded(values)
            if total > limits.DATA_UNPACKED:
                raise _too_large(path, total)
            columns[name].extend(values.to_pylist())
        require_rows(path.name, max(map(len, columns.values()), default=0))
    return columns


def _unfolded(values: "pyarrow.Array") -> int:
    """Return the size of an array in bytes with its dictionary encoding expanded."""
    import pyarrow
    import pyarrow.compute

    if not pyarrow.types.is_dictionary(values.type):
        return int(values.nbytes)
    if not len(values.dictionary):
        return len(values) * _VALUE_BYTES
    texts = values.dictionary
    if not (pyarrow.types.is_string(texts.type) or pyarrow.types.is_binary(texts.type)):
        return int(texts.nbytes // len(texts) + 1) * len(values)
    lengths = pyarrow.compute.binary_length(texts).cast("int64")
    taken = lengths.take(values.indices)
    return int(pyarrow.compute.sum(taken).as_py() or 0) + len(values) * _VALUE_BYTES


def _features_of(schema: "pyarrow.Schema") -> Mapping[str, Any]:
    """Return the features that `datasets` stored in the metadata of a Parquet file."""
    content = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        found = files.parse_json(content)
        features = found["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _as_table(
    path: Path, columns: dict[str, list[Any]], features: Mapping[str, Any], form: str
) -> Table:
    notes = []
    for name, feature in features.items():
        names = feature.get("names") if isinstance(feature, dict) else None
        is_label = isinstance(names, list) and feature.get("_type") == "ClassLabel"
        if is_label and name in columns and names:
            columns[name] = [_named(value, names) for value in columns[name]]
            notes.append(f"{name}: the numbers of classes are read as their names in the file")
    columns, nested = unnest(columns)
    count = max(map(len, columns.values()), default=0)
    locations = [f"row {number}" for number in range(1, count + 1)]
    return Table(path, columns, locations, f"{form}, {count:,} rows", (*notes, *nested))


def _named(value: Any, names: list[Any]) -> Any:
    """Return the name of a class number; None for -1, a missing label in `datasets`."""
    if not isinstance(value, int):
        return value
    if value == -1:
        return None
    return str(names[value]) if 0 <= value < len(names) else value


def _too_large(path: Path, size: int) -> LimitExceeded:
    return LimitExceeded(
        f"{path.name!r} unpacks to more than {size - 1:,} bytes; at most "
        f"{limits.DATA_UNPACKED:,} are read.",
        "Take a part of it, or leave columns out.",
    )

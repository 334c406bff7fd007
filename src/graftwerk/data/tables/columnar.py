"""Parquet and Arrow: columns of known types, with a limit on their unpacked size.

The limit is checked before values are converted to Python objects.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ... import files, limits
from ...errors import BadFile, BadInput, LimitExceeded
from ...text_safety import counted
from .table import ARROW_SPLITS, ARROW_STATE, Table, require_rows

if TYPE_CHECKING:
    import pyarrow

_JSON_FORM = 'Write {"text": "...", "label": "..."}, one object a line.'


def read_json(path: Path, text: str, encoding: str) -> Table:
    """Read JSON objects in a list, or in one of the other layouts of data frames."""
    try:
        value = files.parse_json(text, unique=True)
    except ValueError as error:
        if not text.lstrip().startswith("["):
            return read_json_lines(path, text, encoding)
        raise BadFile(f"{path.name!r} is not JSON: {error}.", _JSON_FORM) from error
    rows, notes = _rows_of(value)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise BadFile(f"item {number:,} of {path.name!r} contains no JSON object.", _JSON_FORM)
    require_rows(path.name, len(rows))
    table = _from_objects(path, rows, [f"item {n}" for n in range(1, len(rows) + 1)], encoding)
    return replace(table, notes=(*table.notes, *notes))


def _rows_of(value: Any) -> tuple[list[Any], tuple[str, ...]]:
    """Return the rows of a data frame in JSON, in any orientation, and notes."""
    if not isinstance(value, dict) or not value:
        return (value if isinstance(value, list) else [value]), ()
    parts = list(value.values())
    names, data = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(data, list) and all(map(_is_list, data)):
        return [dict(zip(map(str, names), row, strict=False)) for row in data], ()
    if all(isinstance(part, dict) for part in parts) and any(parts):
        keys = dict.fromkeys(key for part in parts for key in part)
        columns = [{name: part.get(key) for name, part in value.items()} for key in keys]
        return parts if _is_by_row(value) else columns, ()
    if all(isinstance(part, list) and len(part) == len(parts[0]) for part in parts):
        return [dict(zip(value, row, strict=True)) for row in zip(*parts, strict=True)], ()
    lists = [key for key, part in value.items() if _is_list(part) and part]
    if len(lists) == 1 and all(isinstance(row, dict) for row in value[lists[0]]):
        others = ", ".join(key for key in value if key != lists[0])
        return value[lists[0]], (f"rows are read from {lists[0]!r}; left out: {others or 'none'}",)
    return [value], ()


def _is_by_row(value: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether objects inside of one object are rows by their index, and not columns."""
    inner = {key for part in value.values() for key in part}
    if all(map(str.isdecimal, inner)):  # the usual index
        return False
    if all(map(str.isdecimal, value)):
        return True
    kinds = [{type(cell) for cell in part.values() if cell is not None} for part in value.values()]
    return any(len(kind - {int, float}) + bool(kind & {int, float}) > 1 for kind in kinds)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def read_json_lines(path: Path, text: str, encoding: str) -> Table:
    """Read one JSON object per line."""
    rows: list[dict[str, Any]] = []
    locations: list[str] = []
    for line, row in json_lines(text, path.name):
        if line == 1 and isinstance(row, list) and row and isinstance(row[0], dict):
            return read_json(path, text, encoding)
        if not isinstance(row, dict):
            shown = str(row)[:80]
            reason = f"line {line:,} of {path.name!r} contains no JSON object: {shown!r}."
            raise BadFile(reason, _JSON_FORM)
        rows.append(row)
        locations.append(f"line {line}")
        require_rows(path.name, len(rows))
    return _from_objects(path, rows, locations, encoding)


def json_lines(text: str, name: str) -> list[tuple[int, Any]]:
    """Return every value in a text of JSON lines with its line number; skip blank lines.

    Raises:
        BadFile: a line is not JSON; it is named.
    """
    found = []
    for line, content in enumerate(io.StringIO(text, newline=""), 1):
        if not content.strip():
            continue
        try:
            found.append((line, files.parse_json(content, unique=True)))
        except ValueError as error:
            raise BadFile(
                f"{name!r}, line {line:,}: no JSON ({error}).", "One JSON value a line is read."
            ) from error
    return found


def _from_objects(
    path: Path, rows: Sequence[Mapping[str, Any]], locations: Sequence[str], encoding: str
) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns, notes = unnest({name: [row.get(name) for row in rows] for name in names})
    words = f"{encoding.upper()}, JSON objects, {counted(len(rows), 'row')}"
    return Table(path, columns, locations, words, notes)


def unnest(columns: Mapping[str, list[Any]]) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """Return the columns with those of objects divided into one for each value, and a note.

    Images, which `datasets` stores as objects of bytes and a path, stay as they are.
    """
    found: dict[str, list[Any]] = {}
    for name, cells in columns.items():
        inner = {key for cell in cells if isinstance(cell, dict) for key in cell}
        if not inner or inner <= {"bytes", "path"}:
            found[name] = cells
            continue
        rows = [dict(_flat({name: cell})) for cell in cells]
        for part in dict.fromkeys(part for row in rows for part in row):
            if part != name or any(row.get(part) is not None for row in rows):
                found[part] = [row.get(part) for row in rows]
    nested = found.keys() != columns.keys()
    return found, ("values inside others are columns named outer.inner",) if nested else ()


def _flat(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values inside nested objects, of any depth, in their order."""
    waiting = list(row.items())[::-1]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{name}.{inner}", part) for inner, part in value.items()][::-1]
        else:
            yield name, value


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
    return Table(path, columns, locations, f"{form}, {counted(count, 'row')}", (*notes, *nested))


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

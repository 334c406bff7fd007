"""Episodes of a robot in the folder layout of LeRobot (https://github.com/huggingface/lerobot).

Version 3.0 is written; versions 2.0, 2.1 and 3.0 are read, with one camera whose images are in the
Parquet files of frames, or files beside them.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from .. import files, folders, limits
from ..data.images import decode_image, read_image, write_image
from ..data.tables.columnar import require_size
from ..errors import BadFile, BadInput, LimitExceeded, UnknownName
from ..metrics.plots import image_sheet
from ..models.checkpoint import read_object

INFO = "meta/info.json"
_STATE, _ACTION, _IMAGES = "observation.state", "action", "observation.images."
_FILE = "chunk-000/file-000.parquet"
_INTEGERS = ("frame_index", "episode_index", "index", "task_index")
_LATE = 0.1  # of a frame, that a timestamp may be off
_HINT = "Record it again, or leave that episode out."

Frame = tuple[UInt8[np.ndarray, "h w 3"], Float32[np.ndarray, " s"], Float32[np.ndarray, " a"]]


@dataclass(frozen=True, slots=True, eq=False)
class Episodes:
    """Frames of all episodes, in order.

    Attributes:
        episode: number of the episode of each frame.
        names: of the numbers of an action.
    """

    images: UInt8[np.ndarray, "n h w 3"]
    states: Float32[np.ndarray, "n s"]
    actions: Float32[np.ndarray, "n a"]
    episode: Int64[np.ndarray, " n"]
    fps: float
    tasks: tuple[str, ...]
    names: tuple[str, ...]
    camera: str

    @property
    def count(self) -> int:
        """Number of episodes."""
        return len(np.unique(self.episode))


def write_episodes(
    folder: Path,
    recorded: Iterable[Sequence[Frame]],
    task: str,
    camera: str,
    fps: int,
    names: Sequence[str],
) -> Iterator[int]:
    """Write episodes of image, state and action into an empty folder; yields frames of each.

    The folder is complete once the iterator is exhausted.
    """
    import pyarrow.parquet

    for part in ("meta/episodes/chunk-000", "data/chunk-000"):
        (folder / part).mkdir(parents=True)
    image, writer = _IMAGES + camera, None
    lengths: list[int] = []
    vectors: list[Sequence[Any]] = []
    for number, frames in enumerate(recorded):
        table = _table(frames, number, sum(lengths), image, fps)
        path = folder / "data" / _FILE
        writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)  # a row group for each episode, as LeRobot reads it best
        lengths.append(len(frames))
        vectors += [frame[1:] for frame in frames]
        shape = list(frames[0][0].shape)
        yield len(frames)
    if writer is not None:
        writer.close()
    _write_meta(folder, lengths, task)
    features = _features(image, shape, names)
    files.write_json(folder / INFO, _info(lengths, fps, features))
    columns = dict(zip((_STATE, _ACTION), np.swapaxes(vectors, 0, 1), strict=True))
    measures = ("min", "max", "mean", "std")
    stats = {
        name: {one: getattr(rows, one)(axis=0).tolist() for one in measures}
        | {"count": [len(rows)]}
        for name, rows in columns.items()
    }
    files.write_json(folder / "meta/stats.json", stats)


def _table(frames: Sequence[Frame], number: int, before: int, image: str, fps: int) -> Any:
    import pyarrow
    from PIL import Image

    def png(pixels: Any) -> dict[str, Any]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    at = np.arange(len(frames))
    seen = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns: dict[str, Any] = {image: pyarrow.array([png(frame[0]) for frame in frames], seen)}
    for name, rows in ((_STATE, [one[1] for one in frames]), (_ACTION, [one[2] for one in frames])):
        flat = np.concatenate(rows).astype(np.float32)
        columns[name] = pyarrow.FixedSizeListArray.from_arrays(flat, len(rows[0]))
    columns["timestamp"] = (at / fps).astype(np.float32)
    columns |= dict(zip(_INTEGERS, (at, 0 * at + number, before + at, 0 * at), strict=True))
    features = {image: {"_type": "Image"}}  # as `datasets` marks a column of images
    return pyarrow.table(
        columns, metadata={"huggingface": json.dumps({"info": {"features": features}})}
    )


def _write_meta(folder: Path, lengths: Sequence[int], task: str) -> None:
    import pyarrow
    import pyarrow.parquet

    ends, zeros = np.cumsum(lengths, dtype=np.int64), np.zeros(len(lengths), dtype=np.int64)
    episodes = {"episode_index": np.arange(len(lengths)), "tasks": [[task]] * len(lengths)}
    episodes |= {"length": lengths, "dataset_from_index": ends - lengths, "dataset_to_index": ends}
    kinds = ("data", "meta/episodes")
    episodes |= {f"{kind}/{one}_index": zeros for kind in kinds for one in ("chunk", "file")}
    pyarrow.parquet.write_table(pyarrow.table(episodes), folder / "meta/episodes" / _FILE)
    # LeRobot reads the instructions as the index of a data frame, which pandas marks so
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy}
        for name, kind, numpy in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns}
    tasks = pyarrow.table({"task_index": [0], "task": [task]})
    tasks = tasks.replace_schema_metadata({"pandas": json.dumps(pandas)})
    pyarrow.parquet.write_table(tasks, folder / "meta/tasks.parquet")


def _features(image: str, shape: list[int], names: Sequence[str]) -> dict[str, Any]:
    vector = {"dtype": "float32", "shape": [len(names)], "names": list(names)}
    pixels = {"dtype": "image", "shape": shape, "names": ["height", "width", "channels"]}
    numbers = {"timestamp": "float32"} | dict.fromkeys(_INTEGERS, "int64")
    counters = {n: {"dtype": kind, "shape": [1], "names": None} for n, kind in numbers.items()}
    return {image: pixels, _STATE: vector, _ACTION: vector, **counters}


def _info(lengths: Sequence[int], fps: int, features: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "codebase_version": "v3.0",
        "robot_type": "blocks-gripper",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
        "features": dict(features),
    }


def is_episodes(path: str | Path) -> bool:
    """Whether a folder is in LeRobot's layout."""
    return (Path(path) / INFO).is_file()


def read_episodes(folder: Path) -> Episodes:
    """Read all frames of a folder in LeRobot's layout, with one camera.

    Raises:
        BadFile: it is not such a folder, or frames, numbers or images are missing or do not fit.
        BadInput: it is of a kind that is not read.
        LimitExceeded: it is too large.
    """
    if not is_episodes(folder):
        raise BadFile(
            f"{folder} has no {INFO}, so it is not a data set in LeRobot's layout.",
            folders.hint_for(folder, "Make one: graft blocks episodes --out FOLDER."),
        )
    reader = _Reader(folder)
    episode = reader.whole()
    return Episodes(
        images=reader.images(),
        states=reader.vectors(_STATE),
        actions=reader.vectors(_ACTION),
        episode=episode,
        fps=reader.fps,
        tasks=_tasks(folder),
        names=tuple(map(str, reader.features[_ACTION].get("names") or ())),
        camera=reader.camera.removeprefix(_IMAGES),
    )


class _Reader:
    """The frames of a folder, checked; see `read_episodes`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.info = folder, read_object(folder / INFO)
        version, features = str(self.info.get("codebase_version")), self.info.get("features")
        if version.partition(".")[0] not in {"v2", "v3"} or not isinstance(features, dict):
            raise BadInput(
                f"{folder} has the LeRobot version {version}.",
                "Allowed: v2.0, v2.1, v3.0; convert it with LeRobot.",
            )
        self.features = {k: v for k, v in features.items() if isinstance(v, dict)}
        kinds = {name: one.get("dtype") for name, one in self.features.items()}
        cameras = [name for name, kind in kinds.items() if kind in {"image", "video"}]
        if [kinds[name] for name in cameras] != ["image"]:
            found = ", ".join(f"{name} ({kinds[name]})" for name in cameras) or "none"
            raise BadInput(
                f"{folder} has these cameras: {found}.",
                "One camera with images is read: record with use_videos=False, drop the others.",
            )
        self.camera, fps = cameras[0], self.info.get("fps")
        for name, length in ((_STATE, 1), (_ACTION, 1), (self.camera, 3)):
            shape = self.features.get(name, {}).get("shape")
            sizes = shape if isinstance(shape, list) else []
            if len(sizes) != length or not all(isinstance(n, int) and n > 0 for n in sizes):
                raise BadFile(f"{name!r} has the shape {shape} in {folder / INFO}.", _HINT)
        if not isinstance(fps, int | float) or not 0 < fps < 1e4:
            raise BadFile(f"{folder / INFO} gives {fps!r} frames a second.", "Correct fps.")
        self.fps = float(fps)
        self.columns = self._read((self.camera, _STATE, _ACTION, "timestamp", *_INTEGERS[:2]))

    def _read(self, names: Sequence[str]) -> dict[str, list[Any]]:
        import pyarrow
        import pyarrow.parquet

        found: dict[str, list[Any]] = {name: [] for name in names}
        for path in sorted(self.folder.glob("data/*/*.parquet")):
            try:
                with pyarrow.parquet.ParquetFile(path) as file:
                    require_size(path, file.metadata)
                    missing = [name for name in names if name not in file.schema_arrow.names]
                    if missing:
                        raise BadFile(f"{path} lacks the column {missing[0]!r}.", _HINT)
                    table = file.read(columns=list(names), use_threads=False)
            except (OSError, ValueError, pyarrow.ArrowException) as error:
                raise BadFile(f"{path} is not Parquet: {error}.", "Copy it again.") from error
            for name in names:
                found[name] += table.column(name).to_pylist()
        if not found["episode_index"]:
            raise BadFile(f"{self.folder} has no frames in data/.", "Record an episode.")
        for name in names[3:]:
            if not all(isinstance(one, int | float) for one in found[name]):
                raise BadFile(f"column {name!r} of {self.folder} has gaps.", _HINT)
        return found

    def _where(self, row: int) -> str:
        frame, episode = (self.columns[name][row] for name in _INTEGERS[:2])
        return f"frame {frame} of episode {episode} of {self.folder}"

    def whole(self) -> Int64[np.ndarray, " n"]:
        """Return the episode of each frame; missing episodes and frames are refused."""
        frame, episode = (np.array(self.columns[n], dtype=np.int64) for n in _INTEGERS[:2])
        folder, (count, total) = (
            self.folder,
            (self.info.get(f"total_{n}") for n in ("episodes", "frames")),
        )
        there = np.unique(episode)
        for number in range(count if isinstance(count, int) else 0):
            if number >= len(there) or there[number] != number:
                raise BadFile(f"episode {number} of {folder} has no frames.", _HINT)
        for number in there:
            found = frame[episode == number]
            gaps = np.flatnonzero(found != np.arange(len(found)))
            if len(gaps):
                raise BadFile(
                    f"episode {number} of {folder} lacks frames: frame {found[gaps[0]]} is where "
                    f"frame {gaps[0]} is expected.",
                    _HINT,
                )
        if len(episode) != total:
            found = f"{len(episode):,} frames, but {INFO} counts {total!r}"
            raise BadFile(f"{folder} has {found}.", "Copy it again.")
        times = np.array(self.columns["timestamp"], dtype=np.float64)
        late = np.flatnonzero(~(np.abs(times * self.fps - frame) <= _LATE))
        if len(late):
            row = int(late[0])
            raise BadFile(
                f"{self._where(row)} is at {times[row]:g} s; at the {self.fps:g} frames a second "
                f"of {INFO} it would be at {frame[row] / self.fps:g} s.",
                "Correct fps, or the timestamps.",
            )
        return episode

    def vectors(self, name: str) -> Float32[np.ndarray, "n d"]:
        """Return the numbers of a vector in each frame."""
        size, found = self.features[name]["shape"][0], []
        for row, value in enumerate(self.columns[name]):
            values = value if isinstance(value, list) else [value]
            if len(values) != size:
                said = f"{len(values)} numbers, {INFO} says {size}"
                raise BadFile(f"{name!r} of {self._where(row)} has {said}.", _HINT)
            if None in values or not np.isfinite(values).all():
                raise BadFile(f"{name!r} of {self._where(row)} is not finite: {values}.", _HINT)
            found.append(values)
        return np.array(found, dtype=np.float32)

    def images(self) -> UInt8[np.ndarray, "n h w 3"]:
        """Return the images, from the cells or the files that they name inside the folder."""
        cells, shape = self.columns[self.camera], tuple(self.features[self.camera]["shape"])
        if shape[2] != 3:  # of old, channels come first
            shape = (*shape[1:], shape[0])
        if len(cells) * np.prod(shape) > limits.DATA_UNPACKED:
            raise LimitExceeded(
                f"the images of {self.folder} take more than {limits.DATA_UNPACKED:,} bytes.",
                "Take fewer episodes, or smaller images.",
            )
        found, root = np.empty((len(cells), *shape), dtype=np.uint8), files.real_path(self.folder)
        for row, cell in enumerate(cells):
            content, path = (cell or {}).get("bytes"), (cell or {}).get("path")
            where = f"the image of {self._where(row)}"
            if content is not None and len(content) <= limits.IMAGE_FILE:
                pixels = np.asarray(decode_image(io.BytesIO(content), where).image)
            elif path and (place := files.real_path(root / path)).is_relative_to(root):
                pixels = np.asarray(read_image(str(place)))
            else:
                raise BadFile(f"{where} is missing.", _HINT)
            if pixels.shape != shape:
                has, says = (f"{one[1]} x {one[0]}" for one in (pixels.shape, shape))
                raise BadFile(f"{where} has {has} pixels, {INFO} says {says}.", _HINT)
            found[row] = pixels
        return found


def _tasks(folder: Path) -> tuple[str, ...]:
    """Return the instructions; none if they are not listed."""
    import pyarrow.parquet

    if (path := folder / "meta/tasks.parquet").is_file():
        with pyarrow.parquet.ParquetFile(path) as file:
            require_size(path, file.metadata)
            columns = file.read(use_threads=False).to_pydict()
        return tuple(map(str, columns.get("task", columns.get("__index_level_0__", ()))))
    if (path := folder / "meta/tasks.jsonl").is_file():
        limits.require_file_size(path, limits.JSON_FILE, "list of tasks")
        try:
            rows = [files.parse_json(line) for line in path.read_text("utf-8").splitlines()]
        except ValueError as error:
            raise BadFile(f"{path} is not JSON lines: {error}.", "Copy it again.") from error
        return tuple(str(row.get("task")) for row in rows if isinstance(row, dict))
    return ()


_SMALLEST = 128  # side of a frame in pixels; smaller ones are enlarged
_MOST = 8  # frames of an episode on a sheet


def require_film(path: Path) -> None:
    """Refuse a file that can be neither a sheet nor a film.

    Raises:
        UnknownName: its ending is another.
    """
    if path.suffix.lower() not in {".png", ".gif"}:
        raise UnknownName("ending of the output file", path.suffix, [".png", ".gif"])


def write_film(
    path: Path, episodes: Sequence[Sequence[UInt8[np.ndarray, "h w 3"]]], fps: float, title: str
) -> None:
    """Write episodes: as rows of up to eight frames (.png), or side by side as a film (.gif)."""
    from PIL import Image

    def enlarged(frame: UInt8[np.ndarray, "h w 3"]) -> Any:
        image = Image.fromarray(frame)
        times = max(1, -(-_SMALLEST // min(image.size)))
        return image.resize((times * image.width, times * image.height), Image.Resampling.NEAREST)

    longest = max(map(len, episodes))
    whole = [[*one, *[one[-1]] * (longest - len(one))] for one in episodes]
    if path.suffix.lower() == ".png":
        shown = np.unique(np.linspace(0, longest - 1, _MOST).round().astype(int)).tolist()
        tiles = [enlarged(one[number]) for one in whole for number in shown]
        above = [f"frame {number}" for number in shown]
        write_image(path, image_sheet(tiles, len(shown), above=above, title=title, gap=6))
        return
    columns = min(len(whole), 3)
    frames = [
        image_sheet([enlarged(one[number]) for one in whole], columns, title=title, gap=6)
        for number in range(longest)
    ]
    buffer = io.BytesIO()
    hold = round(1000 / fps)
    durations = [*[hold] * (longest - 1), 4 * hold]  # the last frame stays, before it starts again
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0
    )
    files.write_bytes(path, buffer.getvalue())

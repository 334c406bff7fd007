"""LeRobot's folder layout: what is written, and each damage in a sentence."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from graftwerk.errors import BadFile, BadInput
from graftwerk.policy.episodes import INFO, is_episodes, read_episodes
from graftwerk.policy.world import FPS, Task, expert_frames, start

FRAMES = "data/chunk-000/file-000.parquet"
IMAGE = "observation.images.left"


def change_info(folder, change):
    info = json.loads((folder / INFO).read_text())
    change(info)
    (folder / INFO).write_text(json.dumps(info))


def change_rows(folder, change, name=FRAMES):
    """Rewrite the frames as `change` leaves their rows."""
    table = pyarrow.parquet.read_table(folder / name)
    rows = table.to_pylist()
    rows = change(rows) or rows
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / name)


def test_what_is_written_is_read(recorded):
    data = read_episodes(recorded)
    assert is_episodes(recorded) and not is_episodes(recorded.parent)
    expected = [
        frame
        for n in range(6)
        for frame in expert_frames(start(Task("blue sphere", "left", 32), 3, n))
    ]
    for found, place in ((data.images, 0), (data.states, 1), (data.actions, 2)):
        assert np.array_equal(found, np.stack([frame[place] for frame in expected]))
    assert (data.count, data.fps, data.camera) == (6, FPS, "left")
    assert data.tasks == ("reach the blue sphere",) and data.names == ("x", "y", "z")


def test_the_layout_is_that_of_lerobot(recorded):
    """Names as its version 3.0 reads them (lerobot/datasets/utils.py and dataset_metadata.py)."""
    info = json.loads((recorded / INFO).read_text())
    path = info["data_path"].format(chunk_index=0, file_index=0)
    table = pyarrow.parquet.read_table(recorded / path)
    assert info["codebase_version"] == "v3.0" and set(info["features"]) == set(table.column_names)
    assert table.schema.field(IMAGE).type == pyarrow.struct(
        [("bytes", pyarrow.binary()), ("path", pyarrow.string())]
    )
    assert table.schema.field("action").type.list_size == 3
    assert table["index"].to_pylist() == list(range(info["total_frames"]))
    assert pyarrow.parquet.ParquetFile(recorded / path).num_row_groups == 6
    listed = pyarrow.parquet.read_table(recorded / "meta/episodes/chunk-000/file-000.parquet")
    ends = np.cumsum(listed["length"])
    assert listed["dataset_to_index"].to_pylist() == ends.tolist()
    assert listed["tasks"].to_pylist() == [["reach the blue sphere"]] * 6
    tasks = pyarrow.parquet.read_schema(recorded / "meta/tasks.parquet")
    assert tasks.pandas_metadata["index_columns"] == ["task"]
    stats = json.loads((recorded / "meta/stats.json").read_text())
    assert set(stats["action"]) == {"min", "max", "mean", "std", "count"}


def test_version_2_is_read_too(demos):
    """A file for each episode, images as files beside, instructions in JSON lines."""
    data = read_episodes(demos)
    table = pyarrow.parquet.read_table(demos / FRAMES)
    for number in range(6):
        rows = table.filter(pyarrow.compute.equal(table["episode_index"], number)).to_pylist()
        for row in rows:
            path = f"images/{IMAGE}/episode_{number:06d}/frame_{row['frame_index']:06d}.png"
            (demos / path).parent.mkdir(parents=True, exist_ok=True)
            (demos / path).write_bytes(row[IMAGE]["bytes"])
            row[IMAGE] = {"bytes": None, "path": path}
        name = f"data/chunk-000/episode_{number:06d}.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), demos / name)
    (demos / FRAMES).unlink()
    (demos / "meta/tasks.parquet").unlink()
    (demos / "meta/tasks.jsonl").write_text('{"task_index": 0, "task": "reach the blue sphere"}\n')
    change_info(demos, lambda info: info.update(codebase_version="v2.1"))
    again = read_episodes(demos)
    assert np.array_equal(again.images, data.images) and again.tasks == data.tasks


def drop(rows):
    return [row for n, row in enumerate(rows) if n != 2]


def drop_episode(rows):
    return [row for row in rows if row["episode_index"] != 1]


def not_a_number(rows):
    rows[1]["action"][0] = float("nan")


def short_action(rows):
    for row in rows:
        row["action"] = row["action"][:2]


def no_image(rows):
    rows[0][IMAGE] = {"bytes": None, "path": None}


def outside(rows):
    rows[0][IMAGE] = {"bytes": None, "path": "../../secret.png"}


def broken_image(rows):
    rows[0][IMAGE]["bytes"] = b"no image"


def late(rows):
    for row in rows:
        row["timestamp"] *= 2


ROWS = {
    "missing frames": (drop, "episode 0 of .* lacks frames: frame 3 is where frame 2 is expected"),
    "empty episode": (drop_episode, "episode 1 of .* has no frames"),
    "NaN action": (not_a_number, "'action' of frame 1 of episode 0 .* is not finite"),
    "action size": (short_action, r"'action' of frame 0 .* has 2 numbers, meta/info.json says 3"),
    "no image": (no_image, "the image of frame 0 of episode 0 of .* is missing"),
    "image outside": (outside, "the image of frame 0 of episode 0 of .* is missing"),
    "broken image": (broken_image, "the image of frame 0 of episode 0"),
    "wrong fps": (late, r"frame 1 of episode 0 .* is at 0.4 s; at the 5 frames a second"),
}


@pytest.mark.parametrize("case", ROWS)
def test_damaged_frames(demos, case):
    change, words = ROWS[case]
    change_rows(demos, change)
    with pytest.raises(BadFile, match=words):
        read_episodes(demos)


def more_cameras(info):
    info["features"]["observation.images.wrist"] = info["features"][IMAGE]


INFOS = {
    "version 1": (lambda i: i.update(codebase_version="v1.6"), BadInput, "version v1.6"),
    "no fps": (lambda i: i.update(fps=0), BadFile, "0 frames a second"),
    "other fps": (lambda i: i.update(fps=30), BadFile, "at the 30 frames a second"),
    "frames": (lambda i: i.update(total_frames=9), BadFile, "but meta/info.json counts 9"),
    "episodes": (lambda i: i.update(total_episodes=7), BadFile, "episode 6 of .* has no frames"),
    "no state": (lambda i: i["features"].pop("observation.state"), BadFile, "has the shape None"),
    "film": (lambda i: i["features"][IMAGE].update(dtype="video"), BadInput, "left .video"),
    "two cameras": (more_cameras, BadInput, "One camera with images is read"),
    "image size": (
        lambda i: i["features"][IMAGE].update(shape=[48, 48, 3]),
        BadFile,
        "has 32 x 32 pixels",
    ),
    "no shape": (lambda i: i["features"][IMAGE].update(shape=[48]), BadFile, "the shape"),
}


@pytest.mark.parametrize("case", INFOS)
def test_what_info_says_wrongly(demos, case):
    change, kind, words = INFOS[case]
    change_info(demos, change)
    with pytest.raises(kind, match=words):
        read_episodes(demos)


def test_other_folders(demos, tmp_path):
    with pytest.raises(BadFile, match="is not a data set in LeRobot's layout"):
        read_episodes(tmp_path)
    (demos / FRAMES).write_bytes(b"PAR1")
    with pytest.raises(BadFile, match="is not Parquet"):
        read_episodes(demos)
    (demos / FRAMES).unlink()
    with pytest.raises(BadFile, match="has no frames in data/"):
        read_episodes(demos)


def test_a_column_that_is_missing(demos):
    table = pyarrow.parquet.read_table(demos / FRAMES)
    pyarrow.parquet.write_table(table.drop(["timestamp"]), demos / FRAMES)
    with pytest.raises(BadFile, match="lacks the column 'timestamp'"):
        read_episodes(demos)


def test_instructions_that_are_not_json(demos):
    (demos / "meta/tasks.parquet").unlink()
    assert read_episodes(demos).tasks == ()
    (demos / "meta/tasks.jsonl").write_text("{")
    with pytest.raises(BadFile, match="is not JSON lines"):
        read_episodes(demos)

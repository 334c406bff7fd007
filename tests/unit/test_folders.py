"""Only folders of ours are replaced and removed, and a folder is replaced in one step."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from graftwerk import files, folders
from graftwerk.errors import BadFile, NoRoom


def anything(_: Path) -> bool:
    return True


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def replace(target: Path, content: str) -> None:
    with folders.working_folder(target, anything) as new:
        (new / "a").write_text(content)


def run(code: str) -> int:
    """Run code in a process of its own that has these names."""
    head = "import os\nfrom pathlib import Path\nfrom graftwerk import files, folders\n"
    return subprocess.run([sys.executable, "-c", head + code], check=False).returncode


def test_a_folder_appears_whole(tmp_path):
    target = tmp_path / "result"
    with folders.working_folder(target) as new:
        (new / "a").write_text("1")
        assert not target.exists()
    assert names(target) == ["a"]
    with pytest.raises(ValueError, match="no"), folders.working_folder(target, anything) as new:
        (new / "b").write_text("2")
        raise ValueError("no")
    assert names(target) == ["a"]
    replace(target, "2")
    assert (target / "a").read_text() == "2"
    assert names(tmp_path) == ["result"]


def test_without_an_exchange_in_the_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "exchange", lambda *_: False)
    for content in "12":
        replace(tmp_path / "result", content)
        assert (tmp_path / "result" / "a").read_text() == content
    assert names(tmp_path) == ["result"]


def test_the_kernel_exchanges(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not files.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system has no exchange")
    assert (names(tmp_path / "a"), names(tmp_path / "b")) == (["b"], ["a"])
    with pytest.raises(FileNotFoundError):
        files.exchange(tmp_path / "a", tmp_path / "none")


def test_an_exchange_never_leaves_the_name_empty(tmp_path, monkeypatch):
    """While it is used, no step takes away what is there."""
    replace(tmp_path / "result", "1")
    if not files.exchange(tmp_path, tmp_path):
        pytest.skip("this file system has no exchange")

    def rename(path, other):
        raise AssertionError(f"{path} was renamed")

    monkeypatch.setattr(Path, "rename", rename)
    replace(tmp_path / "result", "2")
    assert (tmp_path / "result" / "a").read_text() == "2"


KILLED = {
    "in the block": "with folders.working_folder(target, ok) as new:\n    os._exit(9)",
    "before the renames": "files.exchange = lambda *_: os._exit(9)",
    "between the renames": """
files.exchange = lambda *_: False
rename = Path.rename
def dying(path, other):
    rename(path, other)
    os._exit(9)
Path.rename = dying
""",
    "after the renames": "folders.remove = lambda *_: os._exit(9)",
}


@pytest.mark.parametrize("moment", KILLED)
def test_a_kill_is_mended_at_the_next_start(tmp_path, moment):
    target = tmp_path / "result"
    replace(target, "1")
    code = f"target = Path({str(target)!r})\nok = lambda _: True\n{KILLED[moment]}\n"
    code += "with folders.working_folder(target, ok) as new:\n    (new / 'a').write_text('2')"
    assert run(code) == 9
    assert len(names(tmp_path)) == (1 if moment == "between the renames" else 2)
    folders.require_free(target, "result", verify=anything)
    expected = "2" if moment == "after the renames" else "1"
    assert (target / "a").read_text() == expected
    assert names(tmp_path) == ["result"]
    replace(target, "3")
    assert (target / "a").read_text() == "3"


def test_what_a_living_process_works_on_stays(tmp_path, monkeypatch):
    """Told by its lock: in another container it has a number that says nothing here."""
    target = tmp_path / "result"
    with folders.working_folder(target, anything) as first:
        (first / "a").write_text("first")
        replace(target, "second")
        assert first.is_dir()
        code = f"folders.settle(Path({str(target)!r}))"
        assert run(code) == 0
        assert (first / "a").read_text() == "first"
    assert (target / "a").read_text() == "first"
    assert names(tmp_path) == ["result"]


def test_the_same_number_of_a_process_again(tmp_path, monkeypatch):
    """In a container every process may have the number of the one that was killed."""
    target = tmp_path / "result"
    monkeypatch.setattr(os, "getpid", lambda: 7)
    code = f"""
os.getpid = lambda: 7
with folders.working_folder(Path({str(target)!r})) as new:
    os._exit(9)
"""
    assert run(code) == 9
    assert len(names(tmp_path)) == 1
    for name in (".result.7.tmp", ".result.7.old"):  # as former versions left them
        (tmp_path / name).mkdir()
    replace(target, "1")
    assert names(tmp_path) == [".result.7.old", ".result.7.tmp", "result"]


@pytest.mark.parametrize(
    "marker",
    [
        None,
        "{",
        '{"format": 1, "kind": "staging", "target": "result"}',
        '{"made_by": "graftwerk", "format": 1, "kind": "staging", "target": "other"}',
        '{"made_by": "graftwerk", "format": 1, "kind": "tour", "target": "result"}',
        '{"made_by": "graftwerk", "format": 2, "kind": "staging", "target": "result"}',
    ],
)
def test_no_folder_is_tidied_for_its_name(tmp_path, marker):
    users = tmp_path / ".result.0123abcd.tmp"
    (users / "old").mkdir(parents=True)
    (users / "old" / "photo.jpg").touch()
    if marker is not None:
        (users / folders.MARKER).write_text(marker)
    replace(tmp_path / "result", "1")
    assert (users / "old" / "photo.jpg").is_file()
    assert names(tmp_path) == [users.name, "result"]


def test_links_are_never_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "photo.jpg").touch()
    ours = folders.claim(tmp_path / "ours", "test")
    (ours / "deep").mkdir()
    for location in (ours, ours / "deep"):
        (location / "link").symlink_to(outside)
        (location / "file").symlink_to(outside / "photo.jpg")
    marked = folders.claim(tmp_path / "marked", "test")
    (tmp_path / "link").symlink_to(marked)
    with pytest.raises(BadFile, match="not made by graftwerk"):
        folders.remove(tmp_path / "link")
    assert folders.kind_of(marked) == "test"
    (ours / "out").symlink_to(tmp_path)
    with pytest.raises(BadFile, match="not made by graftwerk"):
        folders.remove(ours / "out" / "outside", owner=ours)
    folders.remove(ours)
    assert names(outside) == ["photo.jpg"]
    assert not ours.exists()
    (tmp_path / ".result.0.tmp").symlink_to(marked)
    (tmp_path / "result").symlink_to(outside)
    replace(tmp_path / "result", "1")
    assert not (tmp_path / "result").is_symlink()
    assert names(outside) == ["photo.jpg"]
    assert names(marked) == [folders.MARKER]


def test_only_ours_is_removed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").touch()
    for owner in (None, tmp_path, tmp_path / "mine"):
        with pytest.raises(BadFile, match="mine was not made by graftwerk"):
            folders.remove(tmp_path / "mine", owner)
    folders.remove(tmp_path / "none")
    ours = folders.claim(tmp_path / "ours", "test")
    with pytest.raises(BadFile, match="not made by graftwerk"):
        folders.remove(tmp_path / "mine", owner=ours)
    with pytest.raises(BadFile, match="not made by graftwerk"):
        folders.remove(ours / ".." / "mine", owner=ours)
    (ours / "part").mkdir()
    folders.remove(ours / "part", owner=ours)
    assert names(ours) == [folders.MARKER]
    assert names(tmp_path) == ["mine", "ours"]


def test_a_removal_cut_short_is_still_ours(tmp_path, monkeypatch):
    import shutil

    ours = folders.claim(tmp_path / "ours", "test")
    for name in ("0", "part", "z"):
        (ours / name).mkdir()

    def fail(path):
        raise OSError(errno.EIO, "broken")

    iterdir = Path.iterdir
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", fail)
        patch.setattr(Path, "iterdir", lambda path: iter(sorted(iterdir(path))))  # marker first
        with pytest.raises(NoRoom):
            folders.remove(ours)
    assert folders.kind_of(ours) == "test"
    folders.remove(ours)
    assert not ours.exists()


def test_claim(tmp_path):
    ours = folders.claim(tmp_path / "deep" / "ours", "test")
    marker = json.loads((ours / folders.MARKER).read_text())
    assert marker == {"made_by": "graftwerk", "kind": "test", "format": 1}
    (ours / "part").touch()
    assert folders.claim(ours, "test") == ours
    with pytest.raises(BadFile, match="contains no other: 'part' is there"):
        folders.claim(ours, "other")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.jpg").touch()
    with pytest.raises(BadFile, match=r"not empty and contains no test: 'photo\.jpg' is there"):
        folders.claim(mine, "test")
    assert names(mine) == ["photo.jpg"]
    with pytest.raises(BadFile, match="is not a folder"):
        folders.claim(mine / "photo.jpg", "test")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadFile, match="link to nothing"):
        folders.claim(tmp_path / "link", "test")
    assert folders.kind_of(folders.claim(mine, "test", verify=anything)) == "test"


def test_our_locks_alone_are_nothing(tmp_path):
    (tmp_path / folders.TRAINING_LOCK).touch()
    folders.require_free(tmp_path, "training")
    assert folders.kind_of(folders.claim(tmp_path, "test")) == "test"
    other = tmp_path / "other"
    other.mkdir()
    (other / folders.TRAINING_LOCK).write_text("a user's words")
    with pytest.raises(BadFile, match="not empty"):
        folders.require_free(other, "training")


def test_a_place_beside_passes_the_users_folder_by(tmp_path):
    out = tmp_path / "news"
    taken = tmp_path / ".news.training"
    taken.mkdir()
    (taken / "photo.jpg").touch()
    location = folders.claim(folders.beside(out, "training"), "training")
    assert location.name == ".news.training-2"
    assert folders.beside(out, "training") == location
    assert names(taken) == ["photo.jpg"]


def test_input_in_what_is_replaced(tmp_path):
    out = tmp_path / "out"
    (out / "data").mkdir(parents=True)
    (tmp_path / "link").symlink_to(out / "data")
    (tmp_path / "also").symlink_to(out)
    for path in (out, out / "data", tmp_path / "link", tmp_path / "also" / "data"):
        with pytest.raises(BadFile, match=r"lies in .*out, which is going to be replaced"):
            folders.require_outside([None, path], tmp_path / "other", out)
    with pytest.raises(BadFile, match="lies in"):
        folders.require_outside([str(out / "data")], tmp_path / "also")
    for path in (None, "", "builtin/minilm", tmp_path, tmp_path / "out2", "a\0b"):
        folders.require_outside([path], out)


def test_what_comes_meanwhile_is_not_replaced(tmp_path):
    target = tmp_path / "result"
    with pytest.raises(BadFile, match="'mine'"), folders.working_folder(target) as new:
        (new / "a").touch()
        target.mkdir()
        (target / "mine").touch()
    assert names(target) == ["mine"]
    assert names(tmp_path) == ["result"]


def test_a_mount_point(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path)
    with pytest.raises(BadFile, match="mount point"), folders.working_folder(tmp_path, anything):
        pass


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch):
    """A shell in it would stay in the folder that is gone."""
    monkeypatch.chdir(tmp_path)
    for named in (Path(), tmp_path):
        with pytest.raises(BadFile, match="current folder"), folders.working_folder(named):
            pass
    with folders.working_folder(Path("inside")) as folder:
        (folder / "part").touch()
    assert names(tmp_path / "inside") == ["part"]


def test_a_marker_that_cannot_be_written(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "created_and_locked", full)
    with pytest.raises(NoRoom), folders.working_folder(tmp_path / "result"):
        pass
    assert names(tmp_path) == []


def test_a_marker_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def write(*_):
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr("graftwerk.files.os.write", write)
        with pytest.raises(NoRoom), folders.working_folder(tmp_path / "out"):
            pytest.fail("it has no marker")
    assert not list(tmp_path.iterdir())


def test_a_folder_killed_before_its_marker_was_whole_is_tidied_later(tmp_path):
    left = tmp_path / ".out.0123abcd.tmp"
    left.mkdir()
    (left / folders.MARKER).touch()
    folders.settle(tmp_path / "out")
    assert left.exists()  # it may be about to get its marker
    os.utime(left, (1, 1))
    folders.settle(tmp_path / "out")
    assert not left.exists()
    left.mkdir()
    (left / "mine.txt").touch()
    os.utime(left, (1, 1))
    folders.settle(tmp_path / "out")
    assert (left / "mine.txt").exists()

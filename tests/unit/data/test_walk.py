# ruff: noqa: PTH110, PTH118, PTH119  (names of any bytes)
import os
import socket

import pytest
from tests.hostile.make import make_odd_names

from graftwerk import limits
from graftwerk.data.walk import list_files
from graftwerk.errors import BadFile


def fill(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")


def names(found, folder):
    return [os.path.relpath(path, folder) for path in found.files]


def reasons(found, folder):
    return {os.path.relpath(entry.path, folder): entry.reason for entry in found.skipped}


def test_folders_are_walked_sorted_and_hidden_names_left_out(tmp_path):
    fill(tmp_path, "b.md", "a/z.TXT", "a/y.md", "c/d/e.csv", ".hidden.md", ".git/x.md", "a/.x/y.md")
    found = list_files([str(tmp_path)])
    assert names(found, tmp_path) == ["a/y.md", "a/z.TXT", "b.md", "c/d/e.csv"]
    assert found.skipped == ()


def test_named_directly_hidden_names_count(tmp_path):
    fill(tmp_path, ".hidden.md", ".git/x.md")
    found = list_files([str(tmp_path / ".hidden.md"), str(tmp_path / ".git")])
    assert names(found, tmp_path) == [".git/x.md", ".hidden.md"]


def test_unknown_endings_are_told(tmp_path):
    fill(tmp_path, "a.exe", "b", "c.md")
    found = list_files([str(tmp_path)])
    assert names(found, tmp_path) == ["c.md"]
    assert reasons(found, tmp_path).keys() == {"a.exe", "b"}
    assert ".md" in found.skipped[0].reason and ".docx" in found.skipped[0].reason


def test_named_twice_is_listed_once(tmp_path):
    fill(tmp_path, "d/a.md")
    (tmp_path / "link.md").symlink_to("d/a.md")
    found = list_files(
        [str(tmp_path / "d"), str(tmp_path / "d/../d/a.md"), str(tmp_path / "link.md")]
    )
    assert names(found, tmp_path) == ["d/a.md"]


def test_relative_paths_and_named_links_stay_as_named(tmp_path, monkeypatch):
    fill(tmp_path, "real/a.md")
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert list_files(["link"]).files == (str(tmp_path / "link" / "a.md"),)


def test_links_that_lead_outside_are_told(tmp_path):
    fill(tmp_path, "in/a.md", "out/b.md", "in-between/c.md")
    (tmp_path / "in/file.md").symlink_to(tmp_path / "out/b.md")
    (tmp_path / "in/folder").symlink_to(tmp_path / "out")
    (tmp_path / "in/prefix").symlink_to(tmp_path / "in-between")
    (tmp_path / "in/up").symlink_to("../..")
    found = list_files([str(tmp_path / "in")])
    assert names(found, tmp_path) == ["in/a.md"]
    assert reasons(found, tmp_path / "in").keys() == {"file.md", "folder", "prefix", "up"}
    assert all("outside" in entry.reason for entry in found.skipped)


def test_links_inside_are_followed_only_to_what_has_no_other_name(tmp_path):
    fill(tmp_path, "z.md", ".store/x.md", ".store/deep/y.md")
    (tmp_path / "a.md").symlink_to("z.md")
    (tmp_path / "kept.md").symlink_to(".store/x.md")
    (tmp_path / "folder").symlink_to(".store/deep")
    found = list_files([str(tmp_path)])
    assert names(found, tmp_path) == ["folder/y.md", "kept.md", "z.md"]
    assert found.skipped == ()


def test_link_loops_end(tmp_path):
    fill(tmp_path, "a/b.md")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "a/self").symlink_to("self")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "broken.md").symlink_to("nothing.md")
    found = list_files([str(tmp_path)])
    assert names(found, tmp_path) == ["a/b.md"]
    assert reasons(found, tmp_path).keys() == {"a/self", "one", "two", "broken.md"}


def test_what_is_no_file(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo.md")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.md")
        found = list_files([str(tmp_path), "/dev/null"])
    assert found.files == ()
    reported = {os.path.basename(entry.path): entry.reason for entry in found.skipped}
    assert (
        "FIFO" in reported["fifo.md"]
        and "socket" in reported["socket.md"]
        and "device" in reported["null"]
    )


def test_depth_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "FOLDER_DEPTH", 2)
    fill(tmp_path, "a.md", "1/2/b.md", "1/2/3/c.md")
    found = list_files([str(tmp_path)])
    assert names(found, tmp_path) == ["1/2/b.md", "a.md"]
    assert reasons(found, tmp_path).keys() == {"1/2/3"}


def test_paths_too_long_for_the_system(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(limits.FOLDER_DEPTH - 1):
        os.mkdir("d" * 250, dir_fd=here)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    found = list_files([str(tmp_path)])
    assert found.files == ()
    assert len(found.skipped) == 1


def test_an_index_is_left_out(tmp_path):
    fill(tmp_path, "a.md", "index/graft.sqlite", "index/b.md")
    found = list_files([str(tmp_path)])
    assert names(found, tmp_path) == ["a.md"]
    assert reasons(found, tmp_path).keys() == {"index"}


def test_names_of_any_bytes_round_trip(tmp_path):
    paths = make_odd_names(tmp_path)
    found = list_files([str(tmp_path)])
    assert list(found.files) == paths
    assert all(os.path.exists(os.fsencode(path)) for path in found.files)
    assert list_files(paths).files == found.files


def test_empty_folder(tmp_path):
    assert list_files([str(tmp_path)]) == type(list_files([]))((), ())


@pytest.mark.parametrize("name", ["missing.md", "a\x00b", "n" * 300, "bad-\udcff.md", ""])
def test_a_named_path_that_cannot_be_read(tmp_path, name):
    path = os.path.join(tmp_path, name, "x")
    with pytest.raises(BadFile, match="cannot be read"):
        list_files([path])

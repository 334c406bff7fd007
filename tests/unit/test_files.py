"""Files appear whole or not at all."""

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graftwerk import files, folders
from graftwerk.errors import BadFile, LimitExceeded, NoRoom


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.json"
    files.write_json(path, {"b": [1, 2], "a": "ü"})
    assert files.read_json(path) == {"a": "ü", "b": [1, 2]}
    assert os.listdir(path.parent) == ["a.json"]


def test_a_failing_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "first")

    def half(temporary: Path) -> None:
        temporary.write_text("sec")
        raise ValueError("broken off")

    with pytest.raises(ValueError, match="broken off"):
        files.write_atomically(path, half)
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_names_path_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "big.bin"
    files.write_bytes(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(NoRoom, match=r"big\.bin \(4,096 bytes\)"):
            files.write_bytes(path, b"x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["big.bin"]
    files.write_bytes(path, b"x" * 10_000)
    assert path.stat().st_size == 10_000


def test_a_kill_during_a_write_leaves_old_or_new(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    old, new = b"o" * 100, b"n" * 20_000_000
    files.write_bytes(path, old)
    code = f"from graftwerk import files; from pathlib import Path; files.write_bytes(Path({str(path)!r}), b'n' * {len(new)})"
    for delay in (0.05, 0.1, 0.15, 0.2, 0.25):
        child = subprocess.Popen([sys.executable, "-c", code])
        try:
            child.wait(delay)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        assert path.read_bytes() in (old, new)


def test_the_temporary_file_of_a_killed_process_goes_with_the_next_write(tmp_path: Path) -> None:
    code = (
        "from graftwerk import files; from pathlib import Path; import sys, time; "
        "files.write_atomically(Path(sys.argv[1]), lambda t: (t.write_text('half'), "
        "print(t, flush=True), time.sleep(60)))"
    )
    strange = [
        tmp_path / ".a.json.0123456789abcdef.tmp",
        tmp_path / ".tmpotcFez",
        tmp_path / ".b.tmp",
    ]
    for path in strange:
        path.write_text("the user's")

    def start() -> tuple[subprocess.Popen[str], Path]:
        name = str(tmp_path / "a\n.json")
        child = subprocess.Popen(
            [sys.executable, "-c", code, name], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        return child, Path(child.stdout.readline() + child.stdout.readline()[:-1])

    (killed, gone), (living, there) = start(), start()
    with killed, living:
        killed.kill()
        killed.wait()
        assert gone.read_text() == there.read_text() == "half"
        link = gone.with_name(files._temporary_name("c", "01234567"))
        link.symlink_to("nowhere")
        files._remove_leftovers.cache_clear()
        files.write_bytes(tmp_path / "b.json", b"x")
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {"b.json", there.name, link.name, *(path.name for path in strange)}
        living.kill()


BAD_JSON = [b"", b"{", b"\xff\xfe\xfa", b"[" * 100_000, b"1" * 5_000]


@pytest.mark.parametrize("content", BAD_JSON, ids=lambda content: repr(content[:3]))
def test_bad_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(BadFile, match="is not JSON"):
        files.read_json(path)
    with pytest.raises(ValueError, match=r"."):  # of several kinds
        files.parse_json(content)


def test_numbers_of_many_digits() -> None:
    assert files.parse_json("1" * 4_300) == int("1" * 4_300)
    with pytest.raises(ValueError, match=r"^a number in it has more than 4,300 digits$"):
        files.parse_json(f'{{"a": {"1" * 4_301}}}')
    with pytest.raises(ValueError, match=r"^it is nested too deeply$"):
        files.parse_json("[" * 100_000)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_permissions_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    def private(path: Path) -> None:
        """As the writer of safetensors does."""
        path.unlink(missing_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))

    former = os.umask(mask)
    try:
        files.write_atomically(tmp_path / "private", private)
        files.write_bytes(tmp_path / "plain", b"x")
        (tmp_path / "other").write_bytes(b"not ours")
        (tmp_path / "other").chmod(0o400)
        with folders.working_folder(tmp_path / "folder") as folder:
            (folder / "deep").mkdir()
            private(folder / "deep" / "private")
            (folder / "link").symlink_to(tmp_path / "other")
    finally:
        os.umask(former)
    for name in ("private", "plain", "folder/deep/private"):
        assert (tmp_path / name).stat().st_mode & 0o777 == mode, name
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o400
    assert sorted(os.listdir(tmp_path)) == ["folder", "other", "plain", "private"]
    assert sorted(os.listdir(tmp_path / "folder")) == ["deep", "link"]


def test_json_that_is_missing_a_folder_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="is not a file"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(BadFile, match="is not a file"):
        files.read_json(tmp_path)
    path = tmp_path / "a.json"
    path.write_text("[1, 2]")
    assert files.read_json(path, limit=6) == [1, 2]
    with pytest.raises(LimitExceeded, match="6 bytes; at most 5"):
        files.read_json(path, limit=5)


def test_hash(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert files.sha256_of_file(path) == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("name", ["file/new", "file/deep/new", "folder"])
def test_a_place_that_cannot_be(tmp_path, name):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(NoRoom, match="cannot write"):
        files.write_bytes(tmp_path / name, b"y")
    assert (tmp_path / "file").read_bytes() == b"x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_an_error_of_the_disk_that_a_library_reports_as_its_own(tmp_path, number):
    """As safetensors does, whose writer is in Rust."""

    def write(path):
        path.touch()
        raise ValueError(f"Error while serializing: I/O error: no (os error {number})")

    with pytest.raises(NoRoom, match=os.strerror(number)):
        files.write_atomically(tmp_path / "a", write)
    with pytest.raises(NoRoom), folders.working_folder(tmp_path / "out") as folder:
        write(folder / "a")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="something else"), files.disk_errors():
        raise ValueError("something else")

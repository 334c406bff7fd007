"""Requests and command lines of chance: refused in a sentence that names the field, or carried out.

Never an error of another class, which the command line would call unexpected.
"""

import json
import os
import random
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest

import graftwerk.requests
from graftwerk.cli.main import main
from graftwerk.commands import CATALOGUE
from graftwerk.errors import BadValue
from graftwerk.requests.base import holds_path, is_positional

VALUES = [
    *("", " ", "x", "\0", "a\0b.png", "\ud800", "\udcff", "\u202e", "x" * 100_000, "../..", "{}"),
    *("nan", "inf", "-1", "1e400", "9" * 5000, "٣", "0x10", "1_0", "true", "null", "builtin/none"),
    *(-1, 0, 1, 2**63, -(2**63), 10**30, 10**5000, True, None, float("nan"), float("inf"), 1e308),
    *([], [[]], [None], ["x"] * 5, [""], ["\0"], {}, {"a": 1}, b"\xff", Path("a\0b"), Path("x")),
]
SECONDS = 60  # of a command, which refuses its input in far less


@pytest.mark.parametrize("command", CATALOGUE, ids=lambda command: command.request_name)
def test_requests(command):
    generator = random.Random(command.request_name)
    names = [*command.request.model_fields, "no_such_field"]
    for _ in range(150):
        chosen = generator.sample(names, generator.randint(0, min(4, len(names))))
        values = {name: generator.choice(VALUES) for name in chosen}
        try:
            request = command.request(**values)
        except BadValue as error:
            assert error.exit_code == 2
            assert len(str(error)) < 3000
            assert error.message.endswith(".")
        else:
            json.dumps(request.model_dump(mode="python"), default=str)


@pytest.mark.parametrize("command", CATALOGUE, ids=lambda command: command.request_name)
def test_requests_from_json(command):
    texts = ["", "[]", "{", "null", '{"seed": ' + "9" * 5000 + "}", '{"seed": NaN}', "[" * 100_000]
    for text in [*texts, '{"no_such_field": 1}', b"\xff", '{"seed": "\\ud800"}']:
        with pytest.raises(BadValue) as caught:
            command.request.model_validate_json(text)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("request_name", "values"),
    [
        ("Generate", {"out": "a\0b"}),
        ("IndexAdd", {"paths": ["docs", "a\0b"]}),
        ("Search", {"query": "x", "index": Path("a\0b")}),
    ],
)
def test_a_path_with_nul_is_refused_by_the_request(request_name, values):
    with pytest.raises(BadValue, match="a path cannot hold the character NUL"):
        getattr(graftwerk.requests, request_name)(**values)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Paths that are not what a command takes."""
    folder = tmp_path_factory.mktemp("paths")
    (folder / "empty").write_bytes(b"")
    (folder / "bytes").write_bytes(bytes(range(256)) * 10)
    (folder / "numbers.json").write_text('{"a": ' + "9" * 5000 + "}")
    (folder / "numbers.jsonl").write_text('{"question": ' + "9" * 5000 + "}\n")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "list.json").write_text("[1, 2]")
    (folder / "bytes.csv").write_bytes(b'\xff\xfe"\x00\n' * 9)
    (folder / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 99)
    (folder / "folder").mkdir()
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text('{"model_type": ' + "9" * 5000 + "}")
    (folder / "part").mkdir()
    (folder / "part" / "model_index.json").write_text("{}")
    (folder / "fit").mkdir()
    (folder / "fit" / "graft.json").write_text('{"kind": "head", "format": NaN}')
    os.mkfifo(folder / "fifo")
    (folder / "loop").symlink_to(folder / "loop")
    made = sorted(str(path) for path in folder.iterdir())
    return [*made, f"{folder}/gone", f"{folder}/empty/below", f"{folder}/{'n' * 300}", "/dev/null"]


@contextmanager
def deadline():
    def stop(*_):
        raise AssertionError(f"longer than {SECONDS} seconds")

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def words_of(command, path):
    """A command line with one path wherever a path, a folder or a model is named."""
    words = list(command.words)
    for name, info in command.request.model_fields.items():
        text = "PathText" in str(info.annotation) or "min_length=1" in str(info)
        named = holds_path(info.annotation) or name in {"model", "encoder", "paths", "inputs"}
        if is_positional(info):
            words.append(path if named or text else "x")
        elif named or info.is_required():
            words += [f"--{name.rstrip('_').replace('_', '-')}", path if named or text else "x"]
    return words


# These take no input but a folder to write, so that some of the paths are right; a tour is long.
WRITES = {"BlocksRender", "BlocksEpisodes"}
CHECKED = [command for command in CATALOGUE if command.request_name != "Tour"]


@pytest.mark.parametrize("command", CHECKED, ids=lambda command: command.request_name)
def test_commands_with_wrong_paths(command, paths, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path in paths:
        words = words_of(command, path)
        if words == list(command.words):
            pytest.skip("names no path")
        with deadline():
            code = main(words)
        message = capsys.readouterr().err
        assert "unexpected" not in message, (words, message)
        if code == 0 and command.request_name in WRITES:
            continue
        assert code == 2 or (code == 1 and "Traceback" not in message), (words, code, message)
        assert message.strip(), words

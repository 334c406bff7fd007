"""What every command has in common."""

import subprocess
import sys

import pytest

from graftwerk.commands import CATALOGUE
from graftwerk.errors import BadValue
from graftwerk.settings import settings

COMMANDS = [command.words for command in CATALOGUE]


def test_the_catalogue_is_complete() -> None:
    assert len(COMMANDS) == 45
    assert len(set(COMMANDS)) == len(COMMANDS)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from graftwerk.cli import main; main(['--help']);"
        "print(sorted({'torch', 'numpy', 'transformers', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("[]")


def test_importing_the_package_is_light() -> None:
    code = "import sys, graftwerk; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("command", CATALOGUE, ids=lambda command: " ".join(command.words))
def test_help_documents_every_option_and_key(command, capsys) -> None:
    from graftwerk.cli.main import main

    assert main([*command.words, "--help"]) == 0
    text = capsys.readouterr().out
    for name in command.request.model_fields:
        option = name.strip("_").replace("_", "-")
        assert f"-{option}" in text or name.upper() in text
    for result in command.results:
        for key, info in result.model_fields.items():
            assert f"{key}: {info.description}" in " ".join(text.split())
    for flag in ("--json", "--quiet", "--debug", "--seed", "--device"):
        assert flag in text


# texts that may be empty: what a model reads or is asked, and lists that a command takes apart itself
WORDS = set(
    """blocks caption cfg_interval class_ classes condition content covariates estimator grid guide guide_interval guide_labels
    inputs insufficient kind labels lora_plus name negative prompt query question questions sampler scales target
    pag_layers region source targets templates thresholds time where writer_model control branch""".split()  # noqa: SIM905
)


@pytest.mark.parametrize("command", CATALOGUE, ids=lambda command: " ".join(command.words))
def test_no_path_may_be_empty(command) -> None:
    """An unset variable in a shell gives an empty word, which as a path is the current folder."""
    needed = {"data": "x", "out": "x", "to": "x", "condition": "canny", "fit": "x", "task": "write"}
    needed |= {"inputs": ["x"], "paths": ["x"], "images": ["x"], "classes": "x", "file": "x"}
    needed |= {
        "branch": "x",
        "kind": "canny",
        "name": "judge",
        "question": "x",
        "query": "x",
        "table": "x",
    }
    fields = command.request.model_fields
    needed = {name: needed[name] for name, info in fields.items() if info.is_required()}
    for name, info in fields.items():
        if "str" not in str(info.annotation) and "Path" not in str(info.annotation):
            continue
        folder = name == "branch" and command.words == ("control", "export")
        if name in WORDS and not folder and "Path" not in str(info.annotation):
            continue
        given = [""] if "list" in str(info.annotation) else ""
        with pytest.raises(BadValue, match=f"^{name} .*it must not be empty"):
            command.request(**(needed | {name: given}))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["serch"], "search"),
        (["search"], "QUERY requires an argument"),
        (["search", "x", "-k", "many"], "-k 'many' is not valid: it must be a whole number."),
        (["generate", "--steps", "1.5"], "--steps '1.5' is not valid: it must be a whole number."),
        (
            ["fit", "x", "--out", "o", "--layer", "top"],
            "not valid: it must be a whole number or all or multiscale.",
        ),
        (["search", "x", "-k", "-3"], "-3 is not valid: it must be at least 0."),
        (["search", "x", "--mode", "hybird"], 'Did you mean "hybrid"?'),
        (["search", "x", "--kk", "3"], "Unknown option"),
        (
            ["search", "x", "y"],
            "not expected here: y. A folder or file is named by an option (--index",
        ),
        (
            ["recipe", "eval", "judge", "judge/model"],
            "judge/model. A folder or file is named by an ",
        ),
        (["recipe", "eval", "judge", "judge/model"], "option (--model ...)"),
        (["compare", "x", "--dropout", "1"], "--dropout 1.0 is not valid: it must be below 1."),
        (
            ["compare", "x", "--test-share", "1"],
            "--test-share 1.0 is not valid: it must be at most 0.9.",
        ),
        (["search", ""], "it must not be empty"),
        (["search", "x" * 10_001], "at most 10,000 characters"),
        (["ask", "x", "--budget", "3"], "at least 64"),
        (["ask", "x", "--seed", "-1"], "at least 0"),
        (["ask", "x", "--device", "tpu"], "cuda"),
        (["index", "add", ""], "PATHS '' is not valid: it must not be empty."),
        (["index", "add", "x", ""], "PATHS '' is not valid: it must not be empty."),
        (["index", "add", "x", "--index", ""], "--index '' is not valid: it must not be empty."),
        (["generate", "--from", ""], "--from '' is not valid: it must not be empty."),
        (["generate", "-o", ""], "--out '' is not valid: it must not be empty."),
        (["fit", "", "--out", "o"], "DATA '' is not valid: it must not be empty."),
        (
            ["invert", "--to", "class=x", "--out", "choc.png"],
            "--out 'choc.png' is not valid: it names a folder; choc.png looks like a file.",
        ),
        (["index", "add"], "PATHS requires an argument"),
        (["recipe", "run", "judge", "--tiny"], "--out is missing: folder"),
        (["recipe", "run", "judge", "--out"], "--out requires an argument"),
        (["recipe", "run", "judge", "-o"], "-o requires an argument"),
        (
            ["invert"],
            "--to is missing: an image file, class=NAME or text=SENTENCE to move towards.",
        ),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_bad_arguments(arguments, expected, graft) -> None:
    done = graft(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert expected in done.err
    assert done.err.startswith("graft: ")
    assert done.err.count("\n") == 1
    assert "See: graft" in done.err


def test_an_error_in_json(graft) -> None:
    done = graft("search", "x", "--index", "nowhere", "--json")
    assert done.code == 2
    assert set(done.json) == {"error", "message", "hint"}
    assert "nowhere" in done.json["message"]


def test_traceback_only_with_debug(graft) -> None:
    assert "Traceback" not in graft("search", "x", "--index", "nowhere").err
    assert "Traceback" in graft("search", "x", "--index", "nowhere", "--debug").err


def test_version(graft) -> None:
    import graftwerk

    assert graft("--version").out.strip() == graftwerk.__version__


@pytest.mark.parametrize(("rank", "speaks"), [("0", True), ("1", False)])
def test_only_the_first_of_several_processes_shows_its_report(
    rank, speaks, monkeypatch, capsys
) -> None:
    from graftwerk.cli.main import main

    monkeypatch.setenv("RANK", rank)
    settings.cache_clear()
    try:
        assert main(["models", "list"]) == 0
    finally:
        settings.cache_clear()
    assert bool(capsys.readouterr().out) is speaks

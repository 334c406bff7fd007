"""The error tree is what its drawing says, and every error carries its codes."""

import re
from pathlib import Path

import pytest

from graftwerk import errors
from graftwerk.errors import BadInput, GraftError, UnknownName, WrongBase


def tree(cls: type[GraftError]) -> set[type[GraftError]]:
    return {cls}.union(*(tree(child) for child in cls.__subclasses__()))


def test_the_drawing_names_every_class() -> None:
    source = Path(errors.__file__).read_text().split('"""')[1]
    sampled = set(re.findall(r"^[│├└─ ]*([A-Z]\w+)  +\w", source, re.MULTILINE))
    defined = {cls.__name__ for cls in tree(GraftError) if cls.__module__ == errors.__name__}
    assert sampled == defined
    assert len(defined) == 14


@pytest.mark.parametrize("cls", sorted(tree(GraftError), key=lambda cls: cls.__name__))
def test_codes(cls: type[GraftError]) -> None:
    assert cls.exit_code in {1, 2, 130}
    assert 400 <= cls.http_status < 600


def test_unknown_name_offers_the_nearest() -> None:
    assert "Did you mean hybrid?" in str(UnknownName("mode", "hybird", ["hybrid", "text"]))
    assert "Did you mean" not in str(UnknownName("mode", "zzz", ["hybrid", "text"]))
    models = ["builtin/minilm", "builtin/series", "minilm"]
    for typo in ("builtin/minilmm", "bultin/minilm"):
        assert "mean builtin/minilm" in str(UnknownName("model", typo, models))
        assert "or builtin/series" not in str(UnknownName("model", typo, models))


def test_wrong_base_names_both() -> None:
    text = str(WrongBase("the index", "builtin/minilm (abc)", "static (def)", "Rebuild it."))
    assert "builtin/minilm (abc)" in text
    assert "static (def)" in text
    assert text.endswith("Rebuild it.")


def test_json_of_an_error() -> None:
    assert GraftError("what.", "do.").to_json() == {
        "error": "GraftError",
        "message": "what.",
        "hint": "do.",
    }


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("Leave --cfg-rescale out.", "Leave `cfg_rescale` out."),
        ("Pass --no-chance.", "Pass `chance=False`."),
        ("--class 3 of 2; take --from.", "`class_` 3 of 2; take `from_`."),
        ("See: graft fit --help", "See: graft fit --help"),
        ("Make one: graft index add PATH... --index docs",) * 2,
        ("Run graft lora train a.txt --task write, or leave --rank out.",
         "Run graft lora train a.txt --task write, or leave `rank` out."),
        ("`graft generate --lora` opens '--rank' and --rank.",
         "`graft generate --lora` opens '--rank' and `rank`."),
        ("A well-known a--b, -3 and --.", "A well-known a--b, -3 and --."),
        ("Fetch it: graft models fetch imagenet, or add --yes to this command.",) * 2,
    ],
)  # fmt: skip
def test_python_reads_arguments_and_the_command_line_options(text: str, python: str) -> None:
    error = BadInput("No.", text)
    assert str(error) == f"No. {python}"
    assert error.text == f"No. {text}" and error.to_json()["hint"] == text

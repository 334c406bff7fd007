"""The public namespace is what `__all__` says; requests and reports explain themselves."""

import pydantic
import pytest

import graftwerk
from graftwerk import requests
from graftwerk.commands import CATALOGUE
from graftwerk.errors import BadInput
from graftwerk.results import Report


def test_the_public_names() -> None:
    assert graftwerk.__all__ == sorted(graftwerk.__all__)
    for name in graftwerk.__all__:
        assert hasattr(graftwerk, name)
    for command in CATALOGUE:
        assert command.request.__name__ in graftwerk.__all__


def test_a_request_is_frozen_and_closed() -> None:
    request = graftwerk.Search(query="x")
    with pytest.raises(BadInput, match="a Search does not change"):
        request.k = 3
    with pytest.raises(BadInput, match="kk 3 is not possible: there is no such field"):
        graftwerk.Search(query="x", kk=3)


def test_run_refuses_what_is_no_request() -> None:
    with pytest.raises(TypeError, match="Request is not a request"):
        graftwerk.run(requests.Request())


@pytest.mark.parametrize("command", CATALOGUE, ids=lambda command: command.function)
def test_a_command_is_complete(command) -> None:
    assert command.load().__doc__
    assert command.example.startswith("graft " + " ".join(command.words))
    assert command.request.__doc__


def described(model: type[pydantic.BaseModel]) -> None:
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name}"


def test_every_field_is_described() -> None:
    everything = [*requests.Request.__subclasses__(), *Report.__subclasses__()]
    assert len(everything) > 25
    for model in everything:
        described(model)

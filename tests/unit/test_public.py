"""The public namespace is what `__all__` says; requests and reports explain themselves."""

import inspect

import pydantic
import pytest

import graftwerk
from graftwerk.commands import CATALOGUE
from graftwerk.errors import BadInput, GraftError
from graftwerk.requests.base import Request
from graftwerk.results import Report


def test_the_public_names() -> None:
    assert graftwerk.__all__ == sorted(graftwerk.__all__)
    for name in graftwerk.__all__:
        assert hasattr(graftwerk, name)
    for command in CATALOGUE:
        assert command.request.__name__ in graftwerk.__all__


def objects() -> list[str]:
    """Public names that are neither requests nor errors."""
    found = []
    for name in graftwerk.__all__:
        made = getattr(graftwerk, name)
        of = (Request, GraftError)
        if name != "__version__" and not (inspect.isclass(made) and issubclass(made, of)):
            found.append(name)
    return found


@pytest.mark.parametrize("name", objects())
def test_an_object_explains_itself(name) -> None:
    made = getattr(graftwerk, name)
    text = inspect.getdoc(made) or ""
    assert ">>> " in text, "an example that runs"
    if inspect.isfunction(made):
        assert "Raises:" in text and "Args:" in text
    if inspect.isclass(made):
        assert made.__repr__ is not object.__repr__
        for method, function in inspect.getmembers(made, inspect.isfunction):
            if not method.startswith("_"):
                assert inspect.getdoc(function), f"{name}.{method}"


def test_results_show_themselves_in_notebooks() -> None:
    from graftwerk.conditions.kinds.canny import CannyStages
    from graftwerk.library.controlnet import ControlNetTraining
    from graftwerk.library.fitting import Comparison
    from graftwerk.library.inversion import InvertedImages
    from graftwerk.library.pipeline import GeneratedImages
    from graftwerk.library.probing import Probing
    from graftwerk.rag.results import Answer
    from graftwerk.search.results import Hit, SearchResult

    images = (CannyStages, Comparison, ControlNetTraining, GeneratedImages, InvertedImages, Probing)
    for kind in (*images, Answer, Hit, SearchResult):
        assert kind.__repr__ is not object.__repr__
        assert hasattr(kind, "_repr_html_") or hasattr(kind, "_repr_png_"), kind


def test_a_request_is_frozen_and_closed() -> None:
    request = graftwerk.Search(query="x")
    with pytest.raises(BadInput, match="a Search cannot be changed"):
        request.k = 3
    with pytest.raises(BadInput, match="kk 3 is not valid: there is no such field"):
        graftwerk.Search(query="x", kk=3)


def test_run_refuses_what_is_no_request() -> None:
    with pytest.raises(BadInput, match="Request is not a request"):
        graftwerk.run(Request())


@pytest.mark.parametrize("command", CATALOGUE, ids=lambda command: command.function)
def test_a_command_is_complete(command) -> None:
    assert command.load().__doc__
    assert command.example.startswith("graft " + " ".join(command.words))
    assert command.request.__doc__


def described(model: type[pydantic.BaseModel]) -> None:
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name}"


def test_every_field_is_described() -> None:
    everything = [*Request.__subclasses__(), *Report.__subclasses__()]
    assert len(everything) > 25
    for model in everything:
        described(model)

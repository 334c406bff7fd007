"""Examples in docstrings run."""

import doctest
import importlib
import pkgutil
import warnings

import pytest

import graftwerk

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(graftwerk.__path__, "graftwerk.")
    if not name.endswith(("__main__", "worker"))
]


def test_there_are_modules() -> None:
    assert len(MODULES) > 40


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    with warnings.catch_warnings():
        module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0

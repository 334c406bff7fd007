"""Imports go downward only, as the contract in pyproject.toml says."""

from importlinter.cli import lint_imports


def test_import_layers() -> None:
    assert lint_imports(no_cache=True) == 0

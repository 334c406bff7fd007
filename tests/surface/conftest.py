"""Run `graft` the way a user does: a process of its own, in a folder of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.commands import Commands, Outcome

Graft = Callable[..., Outcome]


@pytest.fixture
def graft(commands: Commands, tmp_path: Path) -> Graft:
    def run(*arguments: str, cwd: Path = tmp_path, **environment: str) -> Outcome:
        return commands(*arguments, cwd=cwd, **environment)

    return run

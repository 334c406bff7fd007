"""Imports go downward only, as the contract in pyproject.toml says."""

import subprocess
import sys
from pathlib import Path

LINT = (
    "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
)


def test_import_layers() -> None:
    # in a process of its own: it switches off every logger that there is
    done = subprocess.run(
        [sys.executable, "-c", LINT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

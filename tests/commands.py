"""`graft` in a process of its own, forked from one that has imported what commands import.

A start from nothing spends seconds on imports alone; what a fork does is the same.
"""

import atexit
import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.forking import Forking, serve

import graftwerk  # noqa: F401  before onnxruntime, which it keeps from reporting

_LONGEST = 300  # seconds of a command


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Commands:
    """Runs `graft` with any arguments, in any folder and environment."""

    def __init__(self) -> None:
        self._forking = Forking("tests.commands")

    def __call__(self, *arguments: str, cwd: Path, typed: str = "", **environment: str) -> Outcome:
        with tempfile.TemporaryDirectory() as name:
            given, out, err = (Path(name, part) for part in ("in", "out", "err"))
            given.write_text(typed)
            status = self._forking.run(
                arguments=arguments,
                cwd=str(cwd),
                environment=os.environ | environment,
                files=[str(given), str(out), str(err)],
            )
            return Outcome(os.waitstatus_to_exitcode(status), out.read_text(), err.read_text())

    def close(self) -> None:
        self._forking.close()


def child(task: dict[str, Any]) -> None:
    """Run a command as `python -m graftwerk` would, and end with its exit code."""
    from graftwerk.cli.main import main
    from graftwerk.settings import settings

    signal.alarm(_LONGEST)
    for number, path in enumerate(task["files"]):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT
        os.dup2(os.open(path, flags, 0o600), number)
    os.chdir(task["cwd"])
    os.environ.clear()
    os.environ.update(task["environment"])
    if "gate" in task:  # somebody wants to watch
        Path(task["gate"]).read_bytes()
    settings.cache_clear()  # what was imported before the fork has read the environment
    code = main(task["arguments"])
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _import_what_commands_import() -> None:
    import diffusers
    import onnxruntime
    import peft
    import sklearn.linear_model
    import transformers
    import transformers.models.bert.modeling_bert
    import transformers.models.clip.modeling_clip

    from graftwerk.cli import progress, show
    from graftwerk.cli.main import main
    from graftwerk.commands import CATALOGUE

    loaded = [diffusers.AutoencoderKL, diffusers.UNet2DConditionModel, diffusers.UNet2DModel]
    loaded += [transformers.CLIPModel, *(command.load() for command in CATALOGUE)]
    del onnxruntime, peft, sklearn, main, progress, show


if __name__ == "__main__":
    _import_what_commands_import()
    serve(child)

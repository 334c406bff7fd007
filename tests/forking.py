"""A process that imports everything once and forks a child for each line of JSON that it reads."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def serve(child: Callable[[dict[str, Any]], None]) -> None:
    """Run `child` on each task in a fork; print its process number, then how it ended.

    A task with `together` is not waited for. A child that raises ends with status 1.
    """
    for line in sys.stdin:
        task = json.loads(line)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                child(task)
                status = 0
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        print(pid, flush=True)
        if not task.get("together"):
            print(os.waitpid(pid, 0)[1], flush=True)


class Forking:
    """The other end: a module whose process runs `serve`.

    Args:
        module: is run by `python -m`.
        environment: variables beside those of this process.
    """

    def __init__(self, module: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | environment,
        )

    def start(self, **task: Any) -> int:
        """Fork a child for a task; gives its process number."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return self._number()

    def finish(self) -> int:
        """Wait for the child; gives its status as `os.waitpid` does."""
        return self._number()

    def run(self, **task: Any) -> int:
        """Both."""
        self.start(**task)
        return self.finish()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _number(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

"""A process that imports everything once and forks a child for each line of JSON that it reads."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any


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

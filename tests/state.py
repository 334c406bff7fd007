"""What a long run has done, kept in a file outside the repository, so that a stopped one goes on."""

import json
from pathlib import Path
from typing import Any


class State(dict[str, Any]):
    """A dictionary of which each new item is a line of a file; without a path, of none."""

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self._path = path
        if path is not None and path.exists():
            for line in path.read_text("utf-8").splitlines():
                self.update([json.loads(line)])

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, value]) + "\n")

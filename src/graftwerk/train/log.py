"""The log of a training: one JSON object a step."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import files


class Log:
    """A file of JSON lines; a step that was not finite is there with its NaN."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[dict[str, Any]]:
        """All whole lines; the last one may be torn by a kill."""
        if not self._path.is_file():
            return []
        entries: list[dict[str, Any]] = []
        for line in self._path.read_text("utf-8", "replace").splitlines():
            try:
                entry = files.parse_json(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                entries.append(entry)
        return entries

    def rewind(self, step: int) -> None:
        """Forget what came after a step, for it is done again."""
        kept = [entry for entry in self.read() if entry["step"] <= step]
        files.write_text(self._path, "".join(json.dumps(entry) + "\n" for entry in kept))

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append one step."""
        files.append_text(self._path, json.dumps(dict(entry)) + "\n")

"""Counts of what a writing verb did."""

from dataclasses import dataclass, field

from ..reports import Skipped


@dataclass(slots=True)
class Tally:
    """What was done, in files; `embedded` and `reused` count passages.

    `unfamiliar` counts embedded pictures that are unlike what the encoder was trained on, where it
    can tell.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    embedded: int = 0
    reused: int = 0
    unfamiliar: int | None = None
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def wrote(self) -> bool:
        """Whether the index is another one now."""
        return bool(self.added or self.changed or self.removed)

"""Parse `--grid NAME=V1,V2,...`: one request at several values of one or two options."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

from .. import limits
from ..errors import BadInput, UnknownName
from ..requests.generate import Generate
from ..types import Monitor, Silent

# Options with a single value that affect an image; lists and files cannot be varied.
VARIED = (
    "cfg", "cfg_interval", "cfg_rescale", "eta", "guide_interval", "hold", "negative", "pag",
    "prompt", "reuse", "sampler", "schedule", "seed", "steps", "strength",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Axis:
    """One `--grid`: an option and its values, as written."""

    name: str
    values: tuple[str, ...]

    @property
    def labels(self) -> list[str]:
        """Labels of the rows or columns."""
        return [f"{self.name.replace('_', '-')} {value}" for value in self.values]


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns and rows of a grid; a single option gives one row."""

    columns: Axis
    rows: Axis | None = None

    @property
    def axes(self) -> list[Axis]:
        """Its one or two options."""
        return [self.columns] if self.rows is None else [self.columns, self.rows]

    def cells(self, request: Generate) -> list[tuple[dict[str, str], Generate]]:
        """Return the request of each cell, row by row.

        A cell has one image unless `count` was given.

        Raises:
            BadValue: the option does not accept a value.
        """
        rows = [{}] if self.rows is None else [{self.rows.name: v} for v in self.rows.values]
        given = request.model_dump(include=request.model_fields_set - {"grid"})
        found = []
        for row, value in product(rows, self.columns.values):
            changes = {self.columns.name: value, **row}
            found.append((changes, Generate.model_validate({"count": 1, **given, **changes})))
        return found


def parse_grid(entries: Sequence[str]) -> Grid:
    """Parse one or two `--grid`: the first defines the columns, the second the rows.

    Raises:
        BadInput: an entry cannot be parsed, or there are too many cells.
        UnknownName: an option that cannot be varied.
    """
    axes = []
    for entry in entries:
        name, equals, rest = entry.partition("=")
        name = name.strip().replace("-", "_")
        values = tuple(part.strip() for part in rest.split(",") if part.strip())
        if not equals or not values:
            raise BadInput(f"--grid {entry!r} cannot be read.", "Write for example cfg=1,3,5.")
        if name not in VARIED:
            raise UnknownName("option of a grid", name, [one.replace("_", "-") for one in VARIED])
        axes.append(Axis(name, values))
    if len({axis.name for axis in axes}) < len(axes):
        raise BadInput(f"--grid {axes[0].name} is given twice.", "Give all its values at once.")
    count = len(axes[0].values) * (len(axes[1].values) if len(axes) > 1 else 1)
    if count > limits.GRID_CELLS:
        raise BadInput(
            f"a grid of {count} cells; at most {limits.GRID_CELLS} are generated.", "Take fewer."
        )
    return Grid(axes[0], axes[1] if len(axes) > 1 else None)


@dataclass
class Once(Silent):
    """A monitor that forwards each note only once, since the cells of a grid repeat them."""

    monitor: Monitor
    noted: set[str] = field(default_factory=set)

    def start(self, task: str, total: int | None = None) -> None:
        """Forward the call."""
        self.monitor.start(task, total)

    def advance(self, count: int = 1) -> None:
        """Forward the call."""
        self.monitor.advance(count)

    def note(self, text: str) -> None:
        """Forward a note the first time."""
        if text not in self.noted:
            self.noted.add(text)
            self.monitor.note(text)

"""Third chapter: the strawman and guidance side by side, and what the scale buys."""

from pathlib import Path
from typing import Any

from .. import folders, requests
from ..commands import generate, guide
from ..types import Monitor, Silent

CLASSES = ("red cube", "yellow sphere", "blue cone")
COUNT, SCALE, DRAWING_STEPS, DESCENT = 4, 30, 25, 100
SWEPT, SCALES = 24, "0,3,30"


def chapter(folder: Path, request: requests.Tour, monitor: Monitor) -> dict[str, Any]:
    """Invert and guide to three classes, and sweep; returns what the template shows."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    place = folder / "guiding"
    folders.remove(place, owner=folder)
    pairs = []
    for label in CLASSES:
        strawman = guide.run_invert(
            requests.Invert(
                to=f"class={label}", steps=DESCENT, count=COUNT, out=place / "strawman", **common
            ),
            Silent(),
        )
        guided = generate.run_generate(
            requests.Generate(
                guide=[f"class={label}:{SCALE}"],
                count=COUNT,
                steps=DRAWING_STEPS,
                out=place / "guided",
                **common,
            ),
            Silent(),
        )
        pairs.append((label, strawman, guided))
        monitor.advance()
    swept = guide.run_guide_sweep(
        requests.GuideSweep(
            classes=",".join(CLASSES),
            scales=SCALES,
            count=SWEPT,
            steps=DRAWING_STEPS,
            out=place / "sweep",
            **common,
        ),
        monitor,
    )
    return {
        "pairs": pairs,
        "scale": SCALE,
        "swept": swept,
        "relative": lambda path: Path(path).absolute().relative_to(folder.absolute()).as_posix(),
    }

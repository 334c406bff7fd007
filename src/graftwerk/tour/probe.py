"""Chapter: what can be read of a picture inside the model, and whether the model uses it there."""

from pathlib import Path
from typing import Any

from .. import folders, requests
from ..commands import blocks, probe
from ..types import Monitor

SCENES, MOVED = 300, 4


def chapter(folder: Path, request: requests.Tour, monitor: Monitor) -> dict[str, Any]:
    """Read the place of an object out of the U-Net and the time out of latents, and move both."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    place = folder / "inside"
    folders.remove(place, owner=folder)
    blocks.run_blocks_render(
        requests.BlocksRender(count=SCENES, objects=1, out=place / "scenes", **common), monitor
    )
    asked = {"middle": "place", "latent": "time"}
    studies = [
        probe.run_readout(
            requests.Readout.model_validate(
                {
                    "data": place / "scenes",
                    "at": at,
                    "target": [target],
                    "moved": MOVED,
                    "out": place / "readout",
                    **common,
                }
            ),
            monitor,
        )
        for at, target in asked.items()
    ]
    return {
        "studies": [
            {"read": read, "target": asked[read.at], "shown": read.moved[-1:]} for read in studies
        ],
        "scenes": SCENES,
        "relative": lambda path: Path(path).absolute().relative_to(folder.absolute()).as_posix(),
    }

"""Chapter: what the diffusion model's middle knows of an object's place, and whether it is used."""

import shutil
from pathlib import Path
from typing import Any

from ... import requests
from ...contracts import Monitor
from .. import blocks_render, readout

SCENES, MOVED = 300, 4


def chapter(folder: Path, request: requests.Tour, monitor: Monitor) -> dict[str, Any]:
    """Read the place of an object out of the U-Net, and move along its direction."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    place = folder / "inside"
    shutil.rmtree(place, ignore_errors=True)
    blocks_render.run(
        requests.BlocksRender(count=SCENES, objects=1, out=place / "scenes", **common), monitor
    )
    read = readout.run(
        requests.Readout(
            data=place / "scenes",
            at="middle",
            target=["place"],
            moved=MOVED,
            out=place / "readout",
            **common,
        ),
        monitor,
    )
    return {
        "read": read,
        "scenes": SCENES,
        "relative": lambda path: Path(path).absolute().relative_to(folder.absolute()).as_posix(),
    }

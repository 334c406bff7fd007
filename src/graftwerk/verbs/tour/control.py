"""Control: what each branch makes of one scene, two added, without a prompt."""

import shutil
from pathlib import Path
from typing import Any

from ... import reports, requests
from ...conditions import CONDITIONS
from ...contracts import Monitor, Silent
from .. import condition, generate

SCENE, SIDE, COUNT = 43, 64, 2
PROMPT = "a red cube and a sitting person in white on grass at sunset"  # its own caption
ADDED = ("depth", "segmentation")


def chapter(folder: Path, request: requests.Tour, monitor: Monitor) -> dict[str, Any]:
    """Draw by every condition of one scene; returns what the template shows."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    place = folder / "control"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    maps = {}
    for kind in CONDITIONS:
        maps[kind] = place / f"{kind}.png"
        asked = requests.MakeCondition(kind=kind, scene=SCENE, size=SIDE, out=maps[kind], **common)
        condition.run(asked, Silent())

    def drawn(prompt: str, *kinds: str) -> reports.Generation:
        wanted = requests.Generate(
            prompt=prompt,
            control=[f"{kind}-map={maps[kind]}" for kind in kinds],
            count=COUNT,
            out=place / "-".join(kinds),
            **common,
        )
        monitor.advance()
        return generate.run(wanted, Silent())

    return {
        "number": SCENE,
        "maps": maps,
        "prompt": PROMPT,
        "rows": [(kind, drawn(PROMPT, kind), drawn("", kind)) for kind in maps],
        "added": (ADDED, drawn(PROMPT, *ADDED)),
        "relative": lambda path: Path(path).absolute().relative_to(folder.absolute()).as_posix(),
    }

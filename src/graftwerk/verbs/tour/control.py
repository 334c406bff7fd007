"""Control: what each branch makes of one scene, two added, an ambiguous shape, a short training."""

import shutil
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from ... import reports, requests
from ...conditions import CONDITIONS
from ...contracts import Monitor, Silent
from .. import condition, control_ablation, generate
from ..picture_record import write_image

SCENE, SIDE, COUNT = 43, 64, 2
PROMPTS = (
    "a red cube and a sitting person in white on grass at sunset",  # its own caption
    "a green cube and a sitting person in purple on snow by day",
    "a scene",
    "",
)
ADDED = ("depth", "segmentation")
AMBIGUOUS = ("a blue sphere on sand", "a red cone on sand", "a person in green on sand")
_STEPS, _LEARNED, _HELD_OUT = 6, 32, 3  # of the short training


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

    def drawn(prompt: str, *kinds: str, count: int = 1) -> reports.Generation:
        wanted = requests.Generate(
            prompt=prompt,
            control=[f"{kind}-map={maps[kind]}" for kind in kinds],
            count=count,
            steps=12,
            out=place / "-".join(kinds),
            **common,
        )
        monitor.advance()
        return generate.run(wanted, Silent())

    rows = [(kind, [drawn(prompt, kind) for prompt in PROMPTS]) for kind in maps]
    added = drawn(PROMPTS[0], *ADDED, count=COUNT)
    maps["scribble"] = place / "circle.png"
    write_image(maps["scribble"], _circle())
    return {
        "number": SCENE,
        "maps": {kind: place / f"{kind}.png" for kind in CONDITIONS},
        "prompts": PROMPTS,
        "rows": rows,
        "added": (ADDED, added),
        "circle": maps["scribble"],
        "ambiguous": [(prompt, drawn(prompt, "scribble")) for prompt in AMBIGUOUS],
        "ablation": _trained(place / "ablation", common, monitor),
        "plot": place / "ablation" / f"zero-{request.seed}" / "convergence.png",
        "steps": _STEPS,
        "relative": lambda path: Path(path).absolute().relative_to(folder.absolute()).as_posix(),
    }


def _circle() -> Image.Image:
    """A drawing that many things could be."""
    picture = Image.new("RGB", (SIDE, SIDE))
    ImageDraw.Draw(picture).ellipse([22, 22, 42, 42], outline=(255, 255, 255), width=2)
    return picture


def _trained(out: Path, common: dict[str, Any], monitor: Monitor) -> reports.Ablation:
    """A training that is far too short, to show what every training and ablation leaves."""
    monitor.advance()
    asked = requests.ControlAblation(
        out=out,
        seeds=1,
        steps=_STEPS,
        batch=8,
        scenes=_LEARNED,
        count=_HELD_OUT,
        drawing_steps=6,
        **common,
    )
    return control_ablation.run(asked, Silent())

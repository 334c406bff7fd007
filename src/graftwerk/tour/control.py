"""Control: what each branch makes of one scene, two added, an ambiguous shape, a short training."""

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from .. import folders, requests
from ..commands import blocks, condition, control, generate
from ..conditions.kinds import CONDITIONS
from ..controlnet.results import Ablation, ControlTrained
from ..data.images import write_image
from ..generation.results import Generation
from ..types import Monitor, Silent

SCENE, SIDE, COUNT = 43, 64, 2
PROMPTS = (
    "a red cube and a sitting person in white on grass at sunset",  # its own caption
    "a green cube and a sitting person in purple on snow by day",
    "a scene",
    "",
)
ADDED = ("depth", "segmentation")
AMBIGUOUS = ("a blue sphere on sand", "a red cone on sand", "a person in green on sand")
DRAWING_STEPS = 12
SCENES, STEPS, BATCH, MEASURED = 480, 96, 32, 12  # of the training
_STEPS, _LEARNED, _HELD_OUT = 6, 32, 3  # of those that are far too short


def chapter(folder: Path, request: requests.Tour, monitor: Monitor) -> dict[str, Any]:
    """Draw by every condition of one scene; returns what the template shows."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    place = folder / "control"
    folders.remove(place, owner=folder)
    place.mkdir(parents=True)
    maps = {}
    for kind in CONDITIONS:
        maps[kind] = place / f"{kind}.png"
        asked = requests.MakeCondition(kind=kind, scene=SCENE, size=SIDE, out=maps[kind], **common)
        condition.run_condition(asked, Silent())

    def drawn(prompt: str, *kinds: str, count: int = 1) -> Generation:
        wanted = requests.Generate(
            prompt=prompt,
            control=[f"{kind}-map={maps[kind]}" for kind in kinds],
            count=count,
            steps=DRAWING_STEPS,
            out=place / "-".join(kinds),
            **common,
        )
        monitor.advance()
        return generate.run_generate(wanted, Silent())

    rows = [(kind, [drawn(prompt, kind) for prompt in PROMPTS]) for kind in maps]
    added = drawn(PROMPTS[0], *ADDED, count=COUNT)
    maps["scribble"] = place / "circle.png"
    write_image(maps["scribble"], _circle())
    lesson, trained = _trained(place, common, monitor)
    return {
        "number": SCENE,
        "maps": {kind: place / f"{kind}.png" for kind in CONDITIONS},
        "prompts": PROMPTS,
        "rows": rows,
        "added": (ADDED, added),
        "circle": maps["scribble"],
        "ambiguous": [(prompt, drawn(prompt, "scribble")) for prompt in AMBIGUOUS],
        "lesson": lesson,
        "trained": trained,
        "scenes": SCENES,
        "ablation": _compared(place / "ablation", common, monitor),
        "steps": _STEPS,
        "relative": lambda path: Path(path).absolute().relative_to(folder.absolute()).as_posix(),
    }


def _circle() -> Image.Image:
    """A drawing that many things could be."""
    picture = Image.new("RGB", (SIDE, SIDE))
    ImageDraw.Draw(picture).ellipse([22, 22, 42, 42], outline=(255, 255, 255), width=2)
    return picture


def _trained(
    place: Path, common: dict[str, Any], monitor: Monitor
) -> tuple[requests.ControlTrain, ControlTrained]:
    """A branch of its own, trained until it begins to follow its condition."""
    scenes = place / "scenes"
    asked = requests.BlocksRender(count=SCENES, out=scenes, **common)
    blocks.run_blocks_render(asked, Silent())
    lesson = requests.ControlTrain(
        data=scenes / "train",
        condition="segmentation",
        steps=STEPS,
        batch=BATCH,
        measurements=MEASURED,
        held_out=SCENES // 8,
        out=place / "branch",
        **common,
    )
    monitor.advance()
    return lesson, control.run_control_train(lesson, Silent())


def _compared(out: Path, common: dict[str, Any], monitor: Monitor) -> Ablation:
    """Trainings that are far too short, to show what an ablation leaves."""
    monitor.advance()
    asked = requests.ControlAblation(
        out=out,
        seeds=1,
        steps=_STEPS,
        batch=8,
        scenes=_LEARNED,
        count=_HELD_OUT,
        drawing_steps=max(1, DRAWING_STEPS // 2),
        **common,
    )
    return control.run_control_ablation(asked, Silent())

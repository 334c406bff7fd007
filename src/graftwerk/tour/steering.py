"""Chapters that steer the frozen diffusion model: guidance, ControlNet branches, a style LoRA."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from .. import files, folders
from ..blocks.captions import caption_of
from ..blocks.maps import maps_of
from ..blocks.renderer import render
from ..blocks.sampling import sample_scene
from ..blocks.scene import Scene
from ..commands import blocks, classify, condition, fit, generate
from ..conditions.kinds import CONDITIONS
from ..controlnet.results import Ablation, ControlTrained
from ..data.images import write_image
from ..generation.results import Generation
from ..requests.control import ControlAblation, ControlTrain, GuideSweep, Invert, MakeCondition
from ..requests.finetune import Fit
from ..requests.generate import Generate
from ..requests.models import BlocksRender, Classify, Tour
from ..types import Monitor, Silent
from . import recorded

CLASSES = ("red cube", "yellow sphere", "blue cone")
GUIDED, SCALE, GUIDE_STEPS, DESCENT = 4, 30, 25, 100
SWEPT, SCALES = 24, "0,3,30"
FLOWER, FLOWER_STEPS = "daisy", 40  # the class of ImageNet nearest to scikit-learn's photograph

SCENE, SIDE, ADDED_COUNT, LIVE_COUNT = 15, 64, 2, 4
CONTROL_PROMPTS = (
    "a black sphere and a waving person in orange on grass by day",  # its own caption
    "a red sphere and a waving person in blue on grass at sunset",
    "a scene",
    "",
)
LIVE = "segmentation"  # the condition of the short tour
ADDED = ("depth", "segmentation")
AMBIGUOUS = ("a blue sphere on sand", "a red cone on sand", "a person in green on sand")
CONTROL_STEPS = 12
SCENES, TRAINING_STEPS, BATCH, MEASURED = 480, 96, 32, 12  # of the training
_ABLATION_STEPS, _TRAINED_ON, _HELD_OUT = 6, 32, 3  # of trainings that are far too short

FOGGY, LORA_STEPS, SHOWN = 48, 150, 8
STYLE_STEPS, STYLE_COUNT = 25, 4
STYLE_PROMPTS = (
    "a red cube and a blue cone on grass by day",
    "a waving person in green on sand by day",
)
STYLE_SCALES = ("0", "0.5", "1")
_WORLD = 777
_THICKNESS = 9.0  # scene units after which the fog leaves 1 / e of the light
_FOG = (205.0, 208.0, 214.0)
_BY_NIGHT = 0.45


def guide_by_gradients(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Compare the baseline with guidance, and show what the scale of the guide does."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    location = folder / "guiding"
    folders.remove(location, owner=folder)
    pairs = []
    for label in CLASSES if request.full else CLASSES[:1]:
        strawman = generate.run_invert(
            Invert(
                to=f"class={label}",
                steps=DESCENT,
                count=GUIDED,
                out=location / "strawman",
                **common,
            ),
            Silent(),
        )
        pairs.append((label, strawman, _guided(label, SCALE, location, common)))
        monitor.advance()
    real = recorded.load("photographs", folder)
    shown = {"pairs": pairs, "scale": SCALE, "scales": SCALES, "descent": DESCENT}
    shown |= {"real": real, "photograph": photograph(folder), "flower": FLOWER}
    if not request.full:
        entry = recorded.load("sweep", folder)
        return {**shown, "source": entry["source"], **entry["content"]}
    requested = GuideSweep(
        classes=",".join(CLASSES),
        scales=SCALES,
        count=SWEPT,
        steps=GUIDE_STEPS,
        out=location / "sweep",
        **common,
    )
    swept = generate.run_guide_sweep(requested, monitor)
    return {**shown, "source": None, "swept": swept}


def optimize_photographs(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Optimize noise towards a class of a real classifier, which must have been fetched."""
    made = generate.run_invert(
        Invert(
            to=f"class={FLOWER}",
            space="pixel",
            guide_model="imagenet",
            steps=FLOWER_STEPS,
            out=folder / "noise",
            seed=request.seed,
            device=request.device,
        ),
        monitor,
    )
    names = [*made.pictures, photograph(folder)]
    found: Any = classify.run_classify(
        Classify(pictures=names, encoder="imagenet", device=request.device), monitor
    )
    certain = [
        sum(one.probability for one in each.labels if one.label == FLOWER)
        for each in found.pictures
    ]
    return {"noise": names[0], "losses": [made.losses[0], made.losses[-1]]} | {
        "certain": dict(zip(("noise", "photograph"), certain, strict=True))
    }


def photograph(folder: Path) -> str:
    """Write scikit-learn's photograph of a flower into the tour, 256 pixels high."""
    from sklearn.datasets import load_sample_image

    path = folder / recorded.LOCATION / "flower.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(load_sample_image("flower.jpg"))
    image.thumbnail((1024, 256))
    write_image(path, image)
    return str(path)


def _guided(label: str, scale: int, location: Path, common: dict[str, Any]) -> Generation:
    requested = Generate(
        guide=[f"class={label}:{scale}"],
        count=GUIDED,
        steps=GUIDE_STEPS,
        out=location / "guided",
        **common,
    )
    return generate.run_generate(requested, Silent())


def control(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Generate from conditions of one scene; the full tour also trains a branch and an ablation."""
    location = folder / "control"
    folders.remove(location, owner=folder)
    location.mkdir(parents=True)
    maps = _maps(location, request, tuple(CONDITIONS) if request.full else (LIVE,))
    live = []
    for name, weight in (("with the branch", 1), ("without it (weight 0)", 0)):
        one = {LIVE: maps[LIVE]}
        report = _controlled(location, request, CONTROL_PROMPTS[1], one, weight, LIVE_COUNT)
        live.append((name, report))
        monitor.advance()
    content: dict[str, Any] = {"number": SCENE, "live": live, "kind": LIVE, "map": maps[LIVE]}
    if request.full:
        return {**content, "full": True, **_whole_control(location, request, maps, monitor)}
    entries = {name: recorded.load(name, folder) for name in ("control", "training", "ablation")}
    return {**content, "full": False, **entries}


def control_rows(
    folder: Path, request: Tour, monitor: Monitor, prompts: Sequence[str]
) -> dict[str, Any]:
    """Generate from each condition of one scene, with each prompt."""
    location = folder / "control"
    location.mkdir(parents=True, exist_ok=True)
    maps = _maps(location, request, tuple(CONDITIONS))
    rows = []
    for kind in maps:
        row = []
        for prompt in prompts:
            row.append(_controlled(location, request, prompt, {kind: maps[kind]}))
            monitor.advance()
        rows.append((kind, row))
    return {"prompts": prompts, "maps": maps, "rows": rows}


def _whole_control(
    location: Path, request: Tour, maps: dict[str, Path], monitor: Monitor
) -> dict[str, Any]:
    """Run every condition, two combined, an ambiguous shape, a training and a tiny ablation."""
    rows = control_rows(location.parent, request, monitor, CONTROL_PROMPTS)
    both = {kind: maps[kind] for kind in ADDED}
    circle = location / "circle.png"
    write_image(circle, _circle())
    training, trained = _trained(location, request, monitor)
    return {
        **rows,
        "added": (
            ADDED,
            _controlled(location, request, CONTROL_PROMPTS[0], both, count=ADDED_COUNT),
        ),
        "circle": circle,
        "ambiguous": [
            (prompt, _controlled(location, request, prompt, {"scribble": circle}))
            for prompt in AMBIGUOUS
        ],
        "training": training,
        "trained": trained,
        "scenes": SCENES,
        "ablation": _ablation(location / "ablation", request, monitor),
        "steps": _ABLATION_STEPS,
        "drawing_steps": max(1, CONTROL_STEPS // 2),
    }


def _maps(location: Path, request: Tour, kinds: Sequence[str]) -> dict[str, Path]:
    maps = {kind: location / f"{kind}.png" for kind in kinds}
    for kind, path in maps.items():
        requested = MakeCondition(
            kind=kind, scene=SCENE, size=SIDE, out=path, seed=request.seed, device=request.device
        )
        condition.run_condition(requested, Silent())
    return maps


def _controlled(
    location: Path,
    request: Tour,
    prompt: str,
    maps: dict[str, Path],
    weight: int = 1,
    count: int = 1,
) -> Generation:
    requested = Generate(
        prompt=prompt,
        control=[f"{kind}-map={path}:{weight}" for kind, path in maps.items()],
        count=count,
        steps=CONTROL_STEPS,
        out=location / "-".join(maps),
        seed=request.seed,
        device=request.device,
    )
    return generate.run_generate(requested, Silent())


def _circle() -> Image.Image:
    """A shape that could be many things."""
    image = Image.new("RGB", (SIDE, SIDE))
    ImageDraw.Draw(image).ellipse([22, 22, 42, 42], outline=(255, 255, 255), width=2)
    return image


def _trained(
    location: Path, request: Tour, monitor: Monitor
) -> tuple[ControlTrain, ControlTrained]:
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    scenes = location / "scenes"
    requested = BlocksRender(count=SCENES, out=scenes, **common)
    blocks.run_blocks_render(requested, Silent())
    training = ControlTrain(
        data=scenes / "train",
        condition="segmentation",
        steps=TRAINING_STEPS,
        batch=BATCH,
        measurements=MEASURED,
        held_out=SCENES // 8,
        out=location / "branch",
        **common,
    )
    monitor.advance()
    return training, condition.run_control_train(training, Silent())


def _ablation(out: Path, request: Tour, monitor: Monitor) -> Ablation:
    monitor.advance()
    requested = ControlAblation(
        out=out,
        seeds=1,
        steps=_ABLATION_STEPS,
        batch=8,
        scenes=_TRAINED_ON,
        count=_HELD_OUT,
        drawing_steps=max(1, CONTROL_STEPS // 2),
        seed=request.seed,
        device=request.device,
    )
    return condition.run_control_ablation(requested, Silent())


def style(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Show a LoRA that learned fog; a recorded one in the short tour."""
    if request.full:
        return {"source": None, **train_style(folder, request, monitor)}
    entry = recorded.load("style", folder)
    return {"source": entry["source"], **entry["content"]}


def train_style(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Make foggy images, train a LoRA on them, and sample the same noise at three scales."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    location = folder / "style"
    folders.remove(location, owner=folder)
    data, lora, examples = location / "images", location / "lora", location / "examples.png"
    _write_foggy(data, examples)
    tuned = fit.run_fit(
        Fit(data=str(data), task="generate", how="lora", steps=LORA_STEPS, out=lora, **common),
        monitor,
    )
    generated = []
    for number, prompt in enumerate(STYLE_PROMPTS):
        for scale in STYLE_SCALES:
            requested = Generate(
                prompt=prompt,
                count=STYLE_COUNT,
                steps=STYLE_STEPS,
                lora=[f"{lora}:{scale}"],
                out=location / f"prompt-{number}-{scale}",
                **common,
            )
            sheet = generate.run_generate(requested, monitor).sheet
            generated.append({"prompt": prompt, "scale": scale, "sheet": sheet})
    return {
        "tuned": tuned,
        "examples": examples,
        "generated": generated,
        "scales": STYLE_SCALES,
        "steps": LORA_STEPS,
    }


def _write_foggy(folder: Path, sheet: Path) -> None:
    folder.mkdir(parents=True)
    rows, images = [], []
    for number in range(FOGGY):
        scene = sample_scene(_WORLD, number)
        images.append(foggy(scene, SIDE))
        name = f"{number:03}.png"
        Image.fromarray(images[-1]).save(folder / name)
        rows.append(json.dumps({"file_name": name, "caption": f"{caption_of(scene)} in fog"}))
    files.write_text(folder / "metadata.jsonl", "\n".join(rows) + "\n")
    Image.fromarray(np.concatenate(images[:SHOWN], axis=1)).save(sheet)


def foggy(scene: Scene, side: int) -> UInt8[np.ndarray, "h w 3"]:
    """Render a scene in fog: distant pixels fade to gray, by exact depth."""
    depth = maps_of(scene, side, side).depth
    light = np.exp(-depth / _THICKNESS)[..., None]
    grey = np.array(_FOG) * (_BY_NIGHT if scene.time == "night" else 1.0)
    mixed: UInt8[np.ndarray, "h w 3"] = np.rint(
        render(scene, side, side) * light + grey * (1 - light)
    ).astype(np.uint8)
    return mixed

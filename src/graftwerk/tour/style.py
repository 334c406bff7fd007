"""Chapter: a LoRA that teaches the diffusion model fog, from a handful of pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from .. import files, folders, requests
from ..blocks.captions import caption_of
from ..blocks.maps import maps_of
from ..blocks.renderer import render
from ..blocks.sampling import sample_scene
from ..blocks.scene import Scene
from ..commands import fit, generate
from ..types import Monitor

PICTURES, STEPS, SHOWN = 48, 150, 8
DRAWING_STEPS, COUNT = 25, 4
PROMPTS = (
    "a red cube and a blue cone on grass by day",
    "a waving person in green on sand by day",
)
SCALES = ("0", "0.5", "1")
_SIDE, _WORLD = 64, 777
_THICKNESS = 9.0  # scene units after which the fog leaves 1 / e of the light
_FOG = (205.0, 208.0, 214.0)
_BY_NIGHT = 0.45


def chapter(folder: Path, request: requests.Tour, monitor: Monitor) -> dict[str, Any]:
    """Make the pictures, teach them, and draw the same noise at three scales."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    place = folder / "style"
    folders.remove(place, owner=folder)
    data, lora = place / "pictures", place / "lora"
    _write_pictures(data, place / "taught.png")
    taught = fit.run_fit(
        requests.Fit(data=str(data), task="generate", how="lora", steps=STEPS, out=lora, **common),
        monitor,
    )
    drawn = [
        {
            "prompt": prompt,
            "scale": scale,
            "sheet": generate.run_generate(
                requests.Generate(
                    prompt=prompt,
                    count=COUNT,
                    steps=DRAWING_STEPS,
                    lora=[f"{lora}:{scale}"],
                    out=place / f"prompt-{number}-{scale}",
                    **common,
                ),
                monitor,
            ).sheet,
        }
        for number, prompt in enumerate(PROMPTS)
        for scale in SCALES
    ]
    return {
        "taught": taught,
        "drawn": drawn,
        "scales": SCALES,
        "steps": STEPS,
        "relative": lambda path: Path(path).absolute().relative_to(folder.absolute()).as_posix(),
    }


def _write_pictures(folder: Path, sheet: Path) -> None:
    """Foggy scenes with their captions, and some of them side by side."""
    folder.mkdir(parents=True)
    rows, pictures = [], []
    for number in range(PICTURES):
        scene = sample_scene(_WORLD, number)
        pictures.append(foggy(scene, _SIDE))
        name = f"{number:03}.png"
        Image.fromarray(pictures[-1]).save(folder / name)
        rows.append(json.dumps({"file_name": name, "caption": f"{caption_of(scene)} in fog"}))
    files.write_text(folder / "metadata.jsonl", "\n".join(rows) + "\n")
    Image.fromarray(np.concatenate(pictures[:SHOWN], axis=1)).save(sheet)


def foggy(scene: Scene, side: int) -> UInt8[np.ndarray, "h w 3"]:
    """A scene in fog: what is far fades into grey, by the exact depth."""
    depth = maps_of(scene, side, side).depth
    light = np.exp(-depth / _THICKNESS)[..., None]
    grey = np.array(_FOG) * (_BY_NIGHT if scene.time == "night" else 1.0)
    mixed: UInt8[np.ndarray, "h w 3"] = np.rint(
        render(scene, side, side) * light + grey * (1 - light)
    ).astype(np.uint8)
    return mixed

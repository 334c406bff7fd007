"""Chapters on images: the Blocks world, generation and search, conditions, linear probes."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import folders
from ..commands import blocks, classify, condition, generate, search
from ..commands import evaluate as probe
from ..commands import search as index
from ..data.tables import read_table
from ..files import real_path
from ..requests.control import ConditionList, MakeCondition
from ..requests.generate import Generate
from ..requests.models import BlocksRender, BlocksShow, Classify, Readout, RecipeEval, Tour
from ..requests.search import IndexAdd, Search
from ..types import Monitor, Silent
from . import recorded

PROMPTS = (
    "a red cube on grass by day",
    "a blue sphere on snow at night",
    "a waving person in yellow on sand at sunset",
    "a green cone and a white cylinder on stone by day",
    "a sitting person in purple and an orange cube on grass at sunset",
    "a black sphere, a yellow cone and a red cylinder on snow by day",
    "a person in blue with arms out on stone at night",
    "a scene on sand at sunset",
)
# what is searched for, and the words that the caption of a right hit has
SEARCHED = {
    "a yellow sphere": ("yellow sphere",),
    "a waving person in red": ("waving person in red",),
    "a scene on snow at night": ("on snow", "at night"),
}
LABELS = ("a cube", "a sphere", "a cone", "a cylinder", "a person")
SCENE, RENDERED, HITS, CLASSIFIED = 7, 120, 4, 60
CONDITIONED = 10  # the scene whose conditions are shown
PROBED, MOVED = 300, 4
EVALUATED = 24  # prompts of each kind, of the full tour
# a photograph that comes with scikit-learn, which is needed anyhow
_PHOTOGRAPH = ("sklearn", "datasets/images/china.jpg")


def generate_and_search(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Show a scene, generate from prompts, search and classify rendered images."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    location = folder / "images"
    folders.remove(location, owner=folder)
    location.mkdir(parents=True)
    sheet = blocks.run_blocks_show(
        BlocksShow(scene=SCENE, out=location / "scene.png", **common), Silent()
    )
    generated = generate_prompts(folder, request, monitor, PROMPTS if request.full else PROMPTS[:1])
    entry = None if request.full else recorded.load("prompts", folder)
    query = generated["generated"][0].pictures[0].path
    return {
        "number": SCENE,
        "sheet": sheet,
        **generated,
        "source": entry["source"] if entry else None,
        "more": entry["content"]["generated"] if entry else [],
        "measured": _measured(folder, request, monitor),
        **_search_images(location, common, query, monitor),
        **_classify_images(location, common, monitor),
        "is_image": lambda query: query.endswith(".png"),
    }


def _measured(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Return how often an image matches its prompt; measured live in the full tour."""
    entry = recorded.load("evaluation", folder)
    if not request.full:
        return entry
    requested = RecipeEval(
        name="diffusion", count=EVALUATED, seed=request.seed, device=request.device
    )
    figures = blocks.run_recipe_eval(requested, monitor).figures
    for name, figure in entry["content"]["evaluation"].items():
        figure["value"] = figures[name]
    entry["content"]["count"] = EVALUATED
    return {"source": None, "content": entry["content"]}


def generate_prompts(
    folder: Path, request: Tour, monitor: Monitor, prompts: Sequence[str] = PROMPTS
) -> dict[str, Any]:
    """Generate four images for each prompt."""
    generated = []
    for number, prompt in enumerate(prompts):
        requested = Generate(
            prompt=prompt,
            out=folder / "images" / f"prompt-{number}",
            seed=request.seed,
            device=request.device,
        )
        generated.append(generate.run_generate(requested, Silent()))
        monitor.advance()
    return {"generated": generated}


def _search_images(
    location: Path, common: dict[str, Any], image: str, monitor: Monitor
) -> dict[str, Any]:
    data, out = location / "scenes", location / "index"
    blocks.run_blocks_render(BlocksRender(count=RENDERED, out=data, **common), monitor)
    captions = _captions(data)
    added = index.run_index_add(
        IndexAdd(paths=sorted(captions), index=out, encoder="builtin/blocks-clip", **common),
        monitor,
    )
    found = []
    for query, words in [*SEARCHED.items(), (image, None)]:
        result = search.run_search(
            Search(query=query, index=out, k=HITS, mode="vector", **common), monitor
        )
        right = {path for path in captions if words and all(w in captions[path] for w in words)}
        hits = sum(hit.path in right for hit in result.hits)
        found.append(
            {"report": result, "right": hits, "there": len(right), "counted": words is not None}
        )
    return {"added": added, "found": found}


def _classify_images(location: Path, common: dict[str, Any], monitor: Monitor) -> dict[str, Any]:
    data = location / "objects"
    blocks.run_blocks_render(BlocksRender(count=CLASSIFIED, objects=1, out=data, **common), monitor)
    captions = _captions(data)
    requested = Classify(pictures=[str(data / "train")], labels=list(LABELS), k=1, **common)
    report = classify.classify_images(requested, monitor)
    kinds = [label.split()[-1] for label in LABELS]
    right = sum(
        one.label.split()[-1] in captions[str(real_path(Path(one.path)))] for one in report.pictures
    )
    counts = [sum(kind in caption for caption in captions.values()) for kind in kinds]
    return {
        "classified": report,
        "labels": LABELS,
        "accuracy": right / len(report.pictures),
        "commonest": max(counts) / len(captions),
    }


def _captions(data: Path) -> dict[str, str]:
    table = read_table(data / "train" / "metadata.jsonl")
    train = real_path(data / "train")
    pairs = zip(table.column("file_name"), table.column("caption"), strict=True)
    return {str(train / name): str(caption) for name, caption in pairs}


def conditions(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Show Canny's steps on a photograph, and the eight conditions of one scene."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    location = folder / "conditions"
    folders.remove(location, owner=folder)
    location.mkdir(parents=True)
    photograph = _photograph()
    made = {}
    requested: dict[str, dict[str, Any]] = {
        "stages": {"kind": "canny", "image": photograph, "stages": True, "thresholds": "auto"},
        "lines": {"kind": "hough", "image": photograph},
        "scribble": {"kind": "scribble", "image": photograph},
        "scene": {"kind": "all", "scene": CONDITIONED},
    }
    for name, options in requested.items():
        if options.get("image", photograph) is not None:
            wish = MakeCondition(out=location / f"{name}.png", **options, **common)
            made[name] = condition.run_condition(wish, Silent())
        monitor.advance()
    kinds = condition.run_condition_list(ConditionList(**common), monitor).kinds
    return {"made": made, "kinds": kinds, "number": CONDITIONED, "photograph": photograph}


def _photograph() -> str | None:
    package, inner = _PHOTOGRAPH
    found = importlib.util.find_spec(package)
    locations = found.submodule_search_locations if found is not None else None
    path = Path(locations[0]) / inner if locations else None
    return str(path) if path is not None and path.is_file() else None


def look_inside(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Show linear probes of the U-Net and of latents; recorded ones in the short tour."""
    if request.full:
        return {"source": None, **probe_images(folder, request, monitor)}
    entry = recorded.load("inside", folder)
    return {"source": entry["source"], **entry["content"]}


def probe_images(folder: Path, request: Tour, monitor: Monitor) -> dict[str, Any]:
    """Probe the U-Net for an object's location and latents for the time, and move along both."""
    common: dict[str, Any] = {"seed": request.seed, "device": request.device}
    location = folder / "inside"
    folders.remove(location, owner=folder)
    blocks.run_blocks_render(
        BlocksRender(count=PROBED, objects=1, out=location / "scenes", **common), monitor
    )
    studies = []
    for at, target in {"middle": "place", "latent": "time"}.items():
        options = {"data": location / "scenes", "at": at, "target": [target], "moved": MOVED}
        requested = Readout.model_validate({**options, "out": location / "readout", **common})
        report = probe.run_readout(requested, monitor)
        studies.append({"read": report, "target": target, "shown": report.moved[-1:]})
    return {"studies": studies, "scenes": PROBED}

"""Write the folder of a finished model: its files in half precision, `graft.json` and a card."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .. import files, folders
from ..blocks.scene import SIDE
from ..errors import BadFile, BadInput
from ..models.hub import PREFIX, builtin_folder
from ..models.trainable import WEIGHTS
from ..text_safety import counted
from ..training.session import Outcome
from ..training.state import generator_for, initialise
from .registry import Entry, Setting, find


def put(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights into a network whose parameters have these names."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])


def save_own(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write a network of this package inside a working folder; see `models.checkpoint`."""
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    files.write_plain(folder / WEIGHTS, content)
    files.write_json(folder / "config.json", dict(config))


class NetworkTask:
    """Training of a network of this package; see `training.session.Task` and `registry.Work`."""

    def __init__(self, network: Any, config: dict[str, Any], setting: Setting) -> None:
        self._setting, self._config = setting, config
        initialise(network, generator_for(setting.seed, 0, "cpu"))
        self._network = network.to(setting.device)

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """All weights."""
        return dict(self._network.named_parameters())

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the network."""
        save_own(folder, self._config, weights)


def store_in_half(folder: Path) -> None:
    """Convert all floating-point weights below a working folder to float16.

    Their configurations still say float32, since that is the precision in which every library then
    computes.
    """
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, framework="pt") as stored:
            about = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        smaller = {
            name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in tensors.items()
        }
        files.write_plain(path, save(smaller, about))


RECORD, MODEL = "graft.json", "model"
_FORMAT = 1
_LIBRARIES = {"transformers": "transformers", "diffusers": "diffusers"}

_CARD = """\
---
license: apache-2.0
library_name: {library}
tags: [graftwerk, {tag}]
---
# {name}

A model {world}that {about}. Layout: {layout}.

Made by `graft recipe run {name}` of graftwerk {version}, from {start}.

| figure on held-out {material} | measured | aim |
|---|---|---|
{figures}

| training | |
|---|---|
| steps | {steps:,} of {planned:,} |
| {material} | {scenes:,} different ones, {making} from seeds |
| items seen | {items:,} |
| time | {time} |
| hardware | {hardware} |
| seed | {seed} |
{images}{before}
{limits}

`graft.json` holds the whole configuration and the hash of every file.
"""


@dataclass(frozen=True, slots=True)
class Made:
    """How a model was trained.

    Attributes:
        entry: its recipe.
        configuration: everything that determines the training.
        outcome: of the training.
        planned: total number of steps.
        batch: items per step.
        device: where it was trained.
        processes: number of training processes.
        before: earlier trainings of the model; see `history_of`.
    """

    entry: Entry
    configuration: Mapping[str, Any]
    outcome: Outcome
    planned: int
    batch: int
    device: str
    processes: int
    before: Sequence[Mapping[str, Any]] = ()


def write_result(
    folder: Path,
    made: Made,
    save: Callable[[Path], None],
    complete: Callable[[Path], None],
    measure: Callable[[Path], dict[str, float]],
) -> dict[str, float]:
    """Write a model's folder atomically and return its figures.

    Args:
        folder: replaces what was there.
        made: how it was trained.
        save: writes the model into a folder.
        complete: adds files computed with the stored model.
        measure: evaluates the stored model.
    """
    with folders.working_folder(folder) as working:
        save(working)
        store_in_half(working)
        complete(working)
        hashes = {
            path.relative_to(working).as_posix(): files.sha256_of_file(path)
            for path in sorted(working.rglob("*"))
            if path.is_file()
        }
        figures = measure(working)
        hardware = describe_hardware(made.device, made.processes)
        record = {
            "kind": "model",
            "format": _FORMAT,
            "recipe": made.entry.name,
            "configuration": dict(made.configuration),
            "steps": made.outcome.step,
            "planned_steps": made.planned,
            "skipped_steps": made.outcome.skipped,
            "seconds": round(made.outcome.seconds, 1),
            "hardware": hardware,
            "before": list(made.before),
            "figures": figures,
            "sha256": hashes,
            "graftwerk": version("graftwerk"),
        }
        files.write_sealed_json(working / RECORD, record)
        files.write_text(working / "README.md", _card(made, figures, hardware))
    return figures


def _card(made: Made, figures: Mapping[str, float], hardware: str) -> str:
    entry, outcome = made.entry, made.outcome
    lines = []
    for name in figures.keys() | entry.reach.keys():
        measured = f"{figures[name]:.4g}" if name in figures else "not measured"
        aim = f"{entry.reach[name]:g}" if name in entry.reach else ""
        lines.append(f"| {name} | {measured} | {aim} |")
    dependencies = made.configuration["ingredients"]
    blocks = entry.material == "scenes"
    start = "nothing but rendered scenes" if blocks else "nothing but made-up series"
    if entry.name in dependencies:
        start = f"the finished model {dependencies[entry.name][:12]}, which it trained further"
    side = made.configuration.get("side", SIDE)
    library = next((v for k, v in _LIBRARIES.items() if k in entry.layout), "graftwerk")
    return _CARD.format(
        name=entry.name,
        about=entry.about,
        layout=entry.layout,
        limits=entry.limits,
        tag="blocks" if blocks else "time-series-forecasting",
        world="of the Blocks world " if blocks else "",
        material=entry.material,
        making="rendered" if blocks else "made",
        library=library,
        start=start,
        version=version("graftwerk"),
        figures="\n".join(sorted(lines)),
        steps=outcome.step,
        planned=made.planned,
        scenes=min(made.configuration["sizes"]["scenes"], outcome.step * made.batch),
        items=outcome.step * made.batch,
        time=f"{outcome.seconds / 60:,.0f} minutes",
        hardware=hardware,
        seed=made.configuration["seed"],
        images=f"| images | {side} x {side} pixels |\n" if blocks else "",
        before="".join(f"| before that | {_reported(one)} |\n" for one in reversed(made.before)),
    )


def history_of(folder: Path) -> list[dict[str, Any]]:
    """Return the trainings of a finished model, oldest first."""
    record = files.read_json(folder / RECORD)
    last = {
        "steps": record["steps"],
        "items": record["steps"] * record["configuration"]["sizes"]["plan"]["batch"],
        "seconds": record["seconds"],
        "hardware": record["hardware"],
    }
    return [*record.get("before", []), last]


def _reported(training: Mapping[str, Any]) -> str:
    minutes = f"{training['seconds'] / 60:,.0f} minutes"
    seen = f"{counted(training['items'], 'item')} in {counted(training['steps'], 'step')}"
    return f"{seen} and {minutes} on {training['hardware']}"


def describe_hardware(device: str, processes: int) -> str:
    """Describe the machine of a training."""
    if device == "cuda":
        where = torch.cuda.get_device_name()
    else:
        where = f"{device}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"
    several = f", {processes} processes" if processes > 1 else ""
    return f"{where} ({platform.machine()}{several}), PyTorch {torch.__version__}"


def open_judge(entry: Entry, folder: Path | None) -> dict[str, Path]:
    """Return the judge for a recipe's models: `folder`, or else the built-in one."""
    if not entry.judged:
        if folder is not None:
            raise BadInput(f"the recipe {entry.name} is measured without a judge.", "Leave it out.")
        return {}
    return {"judge": open_result(folder or builtin_folder(find("judge").builtin), "judge")}


def open_dependencies(entry: Entry, given: Mapping[str, Path | None]) -> dict[str, Path]:
    """Return the folders of the models that a recipe uses: those given, else the built-in ones.

    Args:
        entry: the recipe.
        given: folders by recipe; the recipe's own model is trained further.
    """
    found = {name: builtin_folder(find(name).builtin) for name in entry.needs}
    for name, folder in given.items():
        if folder is None:
            continue
        if name not in entry.needs + entry.takes:
            raise BadInput(f"the recipe {entry.name} does not need --{name}.", "Leave it out.")
        found[name] = open_result(folder, name)
    return found


def side_of(folder: Path) -> int:
    """Return the side in pixels of the images of a model written by a recipe."""
    return int(files.read_json(folder / RECORD)["configuration"].get("side", SIDE))


_READERS = ("judge", "perception", "clip")  # they downsample larger images
_OF_LATENTS = ("noisy-classifier", "control-")  # their latents may be of larger images


def common_side(requested: int | None, models: Mapping[str, Path], trained: str = "") -> int:
    """Return the side in pixels of the images that these models are for.

    Models that read images or latents may be for half the side, unless they are trained further;
    so may a finished autoencoder that is.

    Args:
        requested: the side named by the user.
        models: folders of finished models, by recipe.
        trained: the recipe that is run or evaluated.

    Raises:
        BadInput: their sides differ.
    """
    sides = {f"--{name}": side_of(folder) for name, folder in models.items()}
    smaller = {f"--{name}" for name in _READERS if name != trained}
    smaller |= {"--autoencoder"} if trained == "autoencoder" else set()
    smaller |= {"--model"} if trained.startswith(_OF_LATENTS) else set()
    if requested is not None:
        sides["--side"] = requested
    side = max(sides.values(), default=SIDE)
    if any(
        own != side and not (name in smaller and 2 * own == side) for name, own in sides.items()
    ):
        found = ", ".join(f"{name} {own}" for name, own in sides.items())
        raise BadInput(
            f"these are for images of different sides, in pixels: {found}.",
            "Name models of one size; one that is not named is the built-in one.",
        )
    return side


def open_result(folder: Path, recipe: str) -> Path:
    """Return the folder of a finished model: `folder` itself, or the model in a training's folder.

    Built-in models are given by name.
    """
    if folder.as_posix().startswith(PREFIX):
        folder = builtin_folder(folder.as_posix())
    for path in (folder, folder / MODEL):
        if (path / RECORD).is_file():
            record = files.read_sealed_json(path / RECORD)
            found = record.get("recipe") if isinstance(record, dict) else None
            if found != recipe:
                raise BadInput(
                    f"{folder} holds a model of the recipe {found!r}, not {recipe!r}.",
                    f"Name a folder that `graft recipe run {recipe}` wrote.",
                )
            return path
    raise BadFile(
        f"{folder} contains no finished model of the recipe {recipe!r}.",
        f"Make one: graft recipe run {recipe} --out {folder}",
    )

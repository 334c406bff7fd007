"""The judge: a detector for clean images, trained independently of the other models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ..blocks.networks import JUDGE_TYPE, Grids, Judgement, JudgeNetwork, as_input, load_judge
from ..blocks.scene import COLOURS, GROUNDS, KINDS, SIDE, TIMES
from ..training.session import Plan
from ..training.state import Loss
from .perception import SceneTask, Sizes, total_of
from .registry import Setting
from .scenes import ABSENT, Rows, Scenes, facts_of_row, other_rows, training_scenes

_WORLD = 3  # its own scenes, so that it has seen nothing of what it judges
_DEVIATION = 0.8  # of the target around an object's middle, in places
_LABELLED = 1.5  # distance up to which places learn kind and color, in places
_FAR = 1e6
_FEW = -2.2  # logit of a chance of 0.1
_NEAR = 0.15  # share of the image within which an answer belongs to an object

REAL = Sizes(
    plan=Plan(steps=4_300, batch=64, learning_rate=2e-3, warm_up=500),
    scenes=60_000,
    widths=(32, 64, 96, 128),
)
LARGE = {"widths": (32, 64, 96, 128, 128)}
TINY = Sizes(plan=Plan(steps=4, batch=4, learning_rate=2e-3, warm_up=2), scenes=12, widths=(8, 16))


class Work(SceneTask):
    """Detects objects and classifies ground and time."""

    def __init__(self, sizes: Sizes, scenes: Scenes, setting: Setting) -> None:
        config = {
            "model_type": JUDGE_TYPE,
            "widths": list(sizes.widths),
            "kinds": list(KINDS),
            "colours": list(COLOURS),
            "grounds": list(GROUNDS),
            "times": list(TIMES),
            **({} if setting.side == SIDE else {"side": setting.side}),
        }
        super().__init__(JudgeNetwork(config), config, scenes, setting)
        self._bias[0] = _FEW

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Loss:  # noqa: ARG002
        """Sum of the losses of all outputs."""
        scene = {name: value.to(self._setting.device) for name, value in batch.items()}
        grids = self._network(as_input(scene["picture"]))
        kind, colour = scene["kind"].long(), scene["colour"].long()
        targets = targets_of(scene["place"], kind != ABSENT, tuple(grids.heat.shape[1:]))
        parts = {
            "heat": heat_loss(grids.heat.float(), targets),
            "kind": _label_loss(grids.kind, kind, targets),
            "colour": _label_loss(grids.colour, colour, targets),
            "shift": _shift_loss(grids, targets),
            "ground": functional.cross_entropy(grids.ground.float(), scene["ground"].long()),
            "time": functional.cross_entropy(grids.time.float(), scene["time"].long()),
        }
        return total_of(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Targets of the grids.

    Attributes:
        heat: 1 at the center of an object, decreasing around it.
        middle: cells that contain the center of an object.
        nearest: index of the object nearest to each cell.
        shift: from each cell to that object, x and y.
        labelled: cells that are near enough for training.
    """

    heat: Float[Tensor, "b y x"]
    middle: Tensor
    nearest: Int[Tensor, "b y x"]
    shift: Float[Tensor, "b 2 y x"]
    labelled: Tensor


def targets_of(location: Float[Tensor, "b o 2"], there: Tensor, shape: tuple[int, int]) -> Targets:
    """Compute the targets on a grid.

    Args:
        location: centers of the objects, as fractions of the image size.
        there: which objects exist, [b o].
        shape: rows and columns of the grid.
    """
    rows, columns = shape
    x = location[..., 0, None, None] * columns - 0.5
    y = location[..., 1, None, None] * rows - 0.5
    across = x - torch.arange(columns, device=location.device)  # b o 1 x
    down = y - torch.arange(rows, device=location.device)[:, None]  # b o y 1
    distance = (across**2 + down**2).masked_fill(~there[..., None, None], _FAR)  # b o y x
    least, nearest = distance.min(dim=1)
    middle = (across.abs() <= 0.5) & (down.abs() <= 0.5) & there[..., None, None]
    shift = torch.stack([across.expand_as(distance), down.expand_as(distance)], dim=2)
    index = nearest[:, None, None].expand(-1, 1, 2, -1, -1)
    return Targets(
        heat=torch.exp(-least / (2 * _DEVIATION**2)),
        middle=middle.any(dim=1),
        nearest=nearest,
        shift=shift.gather(1, index)[:, 0],
        labelled=least <= _LABELLED**2,
    )


def heat_loss(heat: Float[Tensor, "b y x"], targets: Targets) -> Float[Tensor, ""]:
    """The focal loss of CenterNet (Zhou et al. 2019), per object."""
    sure, unsure = functional.logsigmoid(heat), functional.logsigmoid(-heat)
    chance = heat.sigmoid()
    hit = (1 - chance) ** 2 * sure
    miss = (1 - targets.heat) ** 4 * chance**2 * unsure
    middles = targets.middle.sum().clamp(min=1)
    return -torch.where(targets.middle, hit, miss).sum() / middles


def _label_loss(
    logits: Float[Tensor, "b k y x"], labels: Int[Tensor, "b o"], targets: Targets
) -> Float[Tensor, ""]:
    requested = labels[:, :, None, None].expand(-1, -1, *targets.nearest.shape[1:])
    requested = requested.gather(1, targets.nearest[:, None])[:, 0]
    requested = requested.masked_fill(~targets.labelled, ABSENT)
    loss = functional.cross_entropy(logits.float(), requested, ignore_index=ABSENT, reduction="sum")
    return loss / targets.labelled.sum().clamp(min=1)


def _shift_loss(grids: Grids, targets: Targets) -> Float[Tensor, ""]:
    error = functional.l1_loss(grids.shift.float(), targets.shift, reduction="none").sum(dim=1)
    return (error * targets.labelled).sum() / targets.labelled.sum().clamp(min=1)


def prepare(sizes: Sizes, setting: Setting) -> Work:
    """Render the scenes and create the network."""
    return Work(sizes, training_scenes("pictures", sizes.scenes, setting, _WORLD), setting)


def evaluate(folder: Path, count: int, setting: Setting) -> dict[str, float]:
    """Measure accuracy on held-out scenes.

    `kind_and_colour` counts objects; `whole_scene` counts scenes where every object, ground and
    time are correct and nothing else is detected.
    """
    judge = load_judge(folder, setting.device)
    rows = other_rows("pictures", count, setting)
    found = [
        _compare(row, predicted)
        for row, predicted in zip(rows, judge.judge(rows["picture"]), strict=True)
    ]
    return {
        "kind_and_colour": _share(found),
        **{
            key: sum(entry[key] for entry in found) / count
            for key in ("whole_scene", "ground", "time")
        },
    }


def objects_right(rows: Rows, seen: Sequence[Judgement]) -> float:
    """Return the share of objects that were found at their place with their kind and color."""
    return _share([_compare(row, one) for row, one in zip(rows, seen, strict=True)])


def _share(found: Sequence[Mapping[str, int]]) -> float:
    right, objects = (sum(entry[key] for entry in found) for key in ("right", "objects"))
    return right / objects


def _compare(row: np.void, predicted: Judgement) -> dict[str, int]:
    facts = facts_of_row(row)
    right = 0
    for thing, (x, y) in zip(facts.objects, row["place"], strict=False):
        near = [seen for seen in predicted.objects if np.hypot(seen.x - x, seen.y - y) <= _NEAR]
        if near:
            best = min(near, key=lambda seen: np.hypot(seen.x - x, seen.y - y))
            right += (best.kind, best.colour) == (thing.kind, thing.colour)
    named = [(seen.kind, seen.colour) for seen in predicted.objects]
    all_right = named == [(thing.kind, thing.colour) for thing in facts.objects]
    ground, time = predicted.ground == facts.ground, predicted.time == facts.time
    return {
        "right": right,
        "objects": len(facts.objects),
        "whole_scene": int(all_right and ground and time),
        "ground": int(ground),
        "time": int(time),
    }

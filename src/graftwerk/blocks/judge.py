"""The judge: a small network that detects the objects of an image with their colours and positions.

It also classifies ground and time of day. `config.json` lists its classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ..models.checkpoint import fingerprint
from ..models.trainable import load_own
from ..models.transformers import choose_device

_GROUPS = 8  # of channels that are normalised together


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(_GROUPS, width) for _ in range(2)])
        self.convolutions = nn.ModuleList([nn.Conv2d(width, width, 3, padding=1) for _ in range(2)])

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add the output of the convolutions to the input."""
        seen = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            seen = convolution(functional.silu(norm(seen)))
        return x + seen


class Pyramid(nn.Module):
    """A U-shaped feature pyramid with skip connections at each scale.

    Args:
        widths: channels at each scale, multiples of 8; each scale has half the resolution of the
            previous one.
        stride: of the first convolution; with 2, the largest maps have half the image's resolution.
        outputs: channels of the result.
    """

    def __init__(self, widths: Sequence[int], stride: int, outputs: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, stride=stride, padding=1)
        steps = list(pairwise(widths))
        self.down_blocks = nn.ModuleList([Block(width) for width in widths[:-1]])
        self.down = nn.ModuleList([nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in steps])
        self.middle = nn.Sequential(Block(widths[-1]), Block(widths[-1]))
        self.up = nn.ModuleList([nn.Conv2d(b, a, 1) for a, b in steps])
        self.up_blocks = nn.ModuleList([Block(width) for width in widths[:-1]])
        self.norm = nn.GroupNorm(_GROUPS, widths[0])
        self.head = nn.Conv2d(widths[0], outputs, 3, padding=1)

    def forward(
        self, x: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b c y x"], Float[Tensor, "b d"]]:
        """Return maps at the largest scale, and the mean of the smallest scale."""
        *passed, x = self.scales(x)
        summary = x.mean(dim=(2, 3))
        for block, up in zip(reversed(self.up_blocks), reversed(self.up), strict=True):
            before = passed.pop()
            x = functional.interpolate(up(x), size=before.shape[-2:]) + before
            x = block(x)
        return self.head(functional.silu(self.norm(x))), summary

    def scales(self, x: Float[Tensor, "b 3 h w"]) -> list[Tensor]:
        """Return the features of each scale on the way down, the largest first."""
        x = self.stem(x)
        passed = []
        for block, down in zip(self.down_blocks, self.down, strict=True):
            passed.append(block(x))
            x = down(passed[-1])
        return [*passed, self.middle(x)]


MODEL_TYPE = "graftwerk-judge"
_BATCH = 64
_SURE = 0.5  # score from which something is an object
_MOST = 16  # objects that are looked for


@dataclass(frozen=True, slots=True)
class Seen:
    """A detected object.

    Attributes:
        kind: shape.
        colour: of the surface.
        x: horizontal center, as a fraction of the image's width.
        y: vertical center from the top, as a fraction of the height.
        score: confidence from 0 to 1.
    """

    kind: str
    colour: str
    x: float
    y: float
    score: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was detected in an image, with objects from left to right."""

    objects: tuple[Seen, ...]
    ground: str
    time: str


class JudgeNetwork(nn.Module):
    """Detects objects on a grid of half the image's resolution, and classifies ground and time.

    Args:
        config: `widths`, and the lists `kinds`, `colours`, `grounds` and `times`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        self.kinds, self.colours = len(config["kinds"]), len(config["colours"])
        self.grounds = len(config["grounds"])
        self.pyramid = Pyramid(config["widths"], 2, 3 + self.kinds + self.colours)
        self.whole = nn.Linear(config["widths"][-1], self.grounds + len(config["times"]))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> "Grids":
        """Run on images with values from -1 to 1."""
        maps, summary = self.pyramid(images)
        location, kind, colour = maps.split([3, self.kinds, self.colours], dim=1)
        whole = self.whole(summary)
        return Grids(
            heat=location[:, 0],
            shift=location[:, 1:],
            kind=kind,
            colour=colour,
            ground=whole[:, : self.grounds],
            time=whole[:, self.grounds :],
            summary=summary,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Grids:
    """Output of the judge network, as logits.

    Attributes:
        heat: whether the center of an object lies in a cell.
        shift: offset x, y from the center of a cell to that of its object, in cells.
        kind: of the object in a cell.
        colour: of the object in a cell.
        ground: of the image.
        time: of the image.
        summary: features of the whole image.
    """

    heat: Float[Tensor, "b y x"]
    shift: Float[Tensor, "b 2 y x"]
    kind: Float[Tensor, "b k y x"]
    colour: Float[Tensor, "b c y x"]
    ground: Float[Tensor, "b g"]
    time: Float[Tensor, "b t"]
    summary: Float[Tensor, "b d"]


@dataclass(frozen=True)
class Judge:
    """A frozen judge."""

    network: JudgeNetwork
    device: str
    fingerprint: str

    def judge(self, images: UInt8[np.ndarray, "n h w 3"]) -> list[Judgement]:
        """Detect what is in each image; sides must be multiples of 16."""
        return [
            judgement
            for grids in self._look(images)
            for judgement in read_grids(grids, self.network.config)
        ]

    def features(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n d"]:
        """Return one vector per image, for distances between sets of images."""
        found = [grids.summary.cpu().numpy() for grids in self._look(images)]
        return np.concatenate(found).astype(np.float32)

    def _look(self, images: UInt8[np.ndarray, "n h w 3"]) -> Iterator[Grids]:
        for start in range(0, len(images), _BATCH):
            batch = np.ascontiguousarray(images[start : start + _BATCH])
            with torch.inference_mode():
                yield self.network(as_input(torch.from_numpy(batch).to(self.device)))


def as_input(images: UInt8[Tensor, "b h w 3"]) -> Float[Tensor, "b 3 h w"]:
    """Convert bytes to values from -1 to 1."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def read_grids(grids: Grids, config: Mapping[str, Any]) -> list[Judgement]:
    """Return the objects at local maxima of the heat map."""
    scores = grids.heat.float().sigmoid()
    peaks = functional.max_pool2d(scores[:, None], 3, stride=1, padding=1)[:, 0] == scores
    rows, columns = scores.shape[1:]
    best = torch.where(peaks, scores, 0.0).flatten(1).topk(min(_MOST, rows * columns), dim=1)
    judgements = []
    for number, (values, locations) in enumerate(
        zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ):
        objects = []
        for score, location in zip(values, locations, strict=True):
            y, x = divmod(location, columns)
            if score < _SURE:
                continue
            shift = grids.shift[number, :, y, x].tolist()
            objects.append(
                Seen(
                    kind=config["kinds"][int(grids.kind[number, :, y, x].argmax())],
                    colour=config["colours"][int(grids.colour[number, :, y, x].argmax())],
                    x=(x + 0.5 + shift[0]) / columns,
                    y=(y + 0.5 + shift[1]) / rows,
                    score=score,
                )
            )
        judgements.append(
            Judgement(
                objects=tuple(sorted(objects, key=lambda seen: seen.x)),
                ground=config["grounds"][int(grids.ground[number].argmax())],
                time=config["times"][int(grids.time[number].argmax())],
            )
        )
    return judgements


def load_judge(folder: Path, device: str = "auto") -> Judge:
    """Load a judge trained by `graft recipe run judge`.

    Raises:
        BadFile: the folder contains something else, or its parts do not match.
        Damaged: the weight file is truncated.
    """
    location = choose_device(device)
    network = load_own(folder, MODEL_TYPE, JudgeNetwork)
    return Judge(network.to(location), location, fingerprint(folder, {}))

"""Networks that read images of Blocks scenes: the judge and perception.

The judge detects the objects of an image with their colors and positions; perception estimates
depth, normals, segmentation and key points.
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
from .scene import SIDE

_GROUPS = 8  # of channels that are normalized together


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


JUDGE_TYPE = "graftwerk-judge"
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
class _Frozen:
    network: Any
    device: str
    fingerprint: str

    def _look(
        self, images: UInt8[np.ndarray, "n h w 3"], batch: int, side: int | None = None
    ) -> Iterator[Any]:
        for start in range(0, len(images), batch):
            part = np.ascontiguousarray(images[start : start + batch])
            with torch.inference_mode():
                values = as_input(torch.from_numpy(part).to(self.device))
                yield self.network(values if side is None else downsampled(values, side))


class Judge(_Frozen):
    """A frozen judge. Images a whole multiple of its own size are downsampled first."""

    def judge(self, images: UInt8[np.ndarray, "n h w 3"]) -> list[Judgement]:
        """Detect what is in each image; sides must be multiples of 16."""
        return [
            judgement
            for grids in self._look(images, _BATCH, self._side)
            for judgement in read_grids(grids, self.network.config)
        ]

    def features(self, images: UInt8[np.ndarray, "n h w 3"]) -> Float32[np.ndarray, "n d"]:
        """Return one vector per image, for distances between sets of images."""
        looked = self._look(images, _BATCH, self._side)
        found = [grids.summary.cpu().numpy() for grids in looked]
        return np.concatenate(found).astype(np.float32)

    @property
    def _side(self) -> int:
        return int(self.network.config.get("side", SIDE))


def downsampled(images: Float[Tensor, "b c h w"], side: int) -> Float[Tensor, "b c y x"]:
    """Downsample images by averaging pixels, if `side` divides their shorter side."""
    factor, rest = divmod(min(images.shape[-2:]), side)
    fits = factor > 1 and not rest and not any(length % factor for length in images.shape[-2:])
    return functional.avg_pool2d(images, factor) if fits else images


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
    network = load_own(folder, JUDGE_TYPE, JudgeNetwork)
    return Judge(network.to(location), location, fingerprint(folder, {}))


PERCEPTION_TYPE = "graftwerk-perception"
_SEEN = 32
_SURE_POINT = 0.3  # score from which a place is a joint
_MOST_POINTS = 16  # places of one joint that are looked for


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """Raw output of the perception network.

    Attributes:
        depth: 1 over the distance.
        normals: right, up, towards the camera; not normalized.
        classes: logits.
        joints: logits of each key point's location.
    """

    depth: Float[Tensor, "b h w"]
    normals: Float[Tensor, "b 3 h w"]
    classes: Float[Tensor, "b k h w"]
    joints: Float[Tensor, "b j h w"]


class PerceptionNetwork(nn.Module):
    """One network that estimates all maps.

    Args:
        config: `widths`, and the lists `classes` and `joints`.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        self.channels = [1, 3, len(config["classes"]), len(config["joints"])]
        self.pyramid = Pyramid(config["widths"], 1, sum(self.channels))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Views:
        """Run on images with values from -1 to 1."""
        maps, _ = self.pyramid(images)
        depth, normals, classes, joints = maps.split(self.channels, dim=1)
        return Views(depth[:, 0], normals, classes, joints)


@dataclass(frozen=True, slots=True, eq=False)
class Perceived:
    """What was estimated from one image.

    Attributes:
        depth: 1 over the distance in scene units.
        normals: unit vectors: right, up, towards the camera.
        classes: indices into the list of classes.
        joints: candidates for each key point, most confident first: x, y in pixels and a score.
    """

    depth: Float32[np.ndarray, "h w"]
    normals: Float32[np.ndarray, "h w 3"]
    classes: UInt8[np.ndarray, "h w"]
    joints: tuple[tuple[tuple[float, float, float], ...], ...]


class Perception(_Frozen):
    """A frozen network that estimates maps from images."""

    def look(self, images: UInt8[np.ndarray, "n h w 3"]) -> list[Perceived]:
        """Estimate the maps of each image; sides must be multiples of 8."""
        return [seen for views in self._look(images, _SEEN) for seen in read_views(views)]


def read_views(views: Views) -> list[Perceived]:
    """Return what each image shows."""
    depth = views.depth.cpu().numpy()
    normals = functional.normalize(views.normals, dim=1).permute(0, 2, 3, 1).cpu().numpy()
    classes = views.classes.argmax(dim=1).to(torch.uint8).cpu().numpy()
    scores = views.joints.float().sigmoid()
    peaks = functional.max_pool2d(scores, 5, stride=1, padding=2) == scores
    columns = scores.shape[3]
    most = min(_MOST_POINTS, scores.shape[2] * columns)
    best = torch.where(peaks, scores, 0.0).flatten(2).topk(most, dim=2)
    found = [
        tuple(
            tuple(
                (location % columns + 0.5, location // columns + 0.5, score)
                for score, location in zip(values, locations, strict=True)
                if score >= _SURE_POINT
            )
            for values, locations in zip(*joints, strict=True)
        )
        for joints in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]
    return [
        Perceived(one, facing, kinds, joints)
        for one, facing, kinds, joints in zip(depth, normals, classes, found, strict=True)
    ]


def load_perception(folder: Path, device: str = "auto") -> Perception:
    """Load a network trained by `graft recipe run perception`.

    Raises:
        BadFile: the folder contains something else, or its parts do not match.
        Damaged: the weight file is truncated.
    """
    location = choose_device(device)
    network = load_own(folder, PERCEPTION_TYPE, PerceptionNetwork)
    return Perception(network.to(location), location, fingerprint(folder, {}))

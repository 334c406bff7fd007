"""The autoencoder: images to latents at an eighth of their resolution, and back.

The decoder of a finished autoencoder can be trained further alone. Its latents do not change, so
models trained on them stay valid while images become sharper.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor, nn

from ..blocks.judge import Judge, as_input, load_judge
from ..blocks.perception import load_perception
from ..conditions.fidelity import is_drawn
from ..conditions.kinds import CONDITIONS
from ..data.pixels import to_levels
from ..diffusion.latents import LatentSpace, is_encoder
from ..diffusion.pipeline import load_part
from ..metrics.edges import count_pairs, quality_of
from ..metrics.plots import image_sheet
from ..training.session import Plan
from ..training.state import generator_for, initialise
from .arrays import Chunks
from .cached import encode_rows, open_latents
from .judge import objects_right
from .reconstruction import Reconstruction, Weights, psnr
from .registry import HELD_OUT_WORLD, TRAINING_WORLD, Setting
from .result import put
from .scenes import Rows, Scenes, as_tensors, in_order, open_scenes

if TYPE_CHECKING:
    from PIL.Image import Image

_DEVIATION = 2e-6  # weight of the distance of the latents from unit noise
_NOISE = 0.1  # largest standard deviation of noise on latents of unit variance
_MEASURED = 1024  # scenes on which the scale of the latents is measured
_BATCH = 64
_SHOWN = 12  # scenes of a sheet


@dataclass(frozen=True, slots=True)
class Sizes:
    """Hyperparameters: `channels` of the latents, `widths` from image to latents."""

    plan: Plan
    scenes: int
    channels: int
    widths: tuple[int, ...]
    losses: Weights = field(default_factory=Weights)


REAL = Sizes(
    plan=Plan(steps=8_500, batch=16, learning_rate=1e-3, warm_up=300, weight_decay=0.0),
    scenes=100_000,
    channels=16,
    widths=(16, 32, 64, 128),
)
LARGE = {"channels": 48, "widths": (32, 64, 96, 128, 160)}  # a sixteenth of the sides
TINY = Sizes(
    plan=Plan(steps=4, batch=4, learning_rate=1e-3, warm_up=2),
    scenes=12,
    channels=4,
    widths=(8, 8, 8, 8),
)


class Work:
    """Reconstructs images; see `training.session.Task`."""

    def __init__(self, sizes: Sizes, scenes: Scenes, setting: Setting) -> None:
        self._scenes, self._setting = scenes, setting
        self._network = _network(sizes, setting.side)
        initialise(self._network, generator_for(setting.seed, 0, "cpu"))
        self._network.to(setting.device)
        self._losses = _losses(sizes, setting)
        self._items = sizes.plan.steps * sizes.plan.batch

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """All weights."""
        return dict(self._network.named_parameters()) | self._losses.parameters()

    def batch(self, first: int, count: int) -> dict[str, Tensor]:
        """Images."""
        scenes = in_order(len(self._scenes), first, count, self._setting.seed)
        images = as_tensors(self._scenes.rows(scenes))["picture"]
        return {"picture": images, "share": self._losses.share(first / self._items)}

    def loss(
        self, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of the reconstructions, and the KL divergence of the latents."""
        images = as_input(batch["picture"].to(self._setting.device))
        code = self._network.encode(images).latent_dist
        mean, deviation = code.mean.float(), code.logvar.float()
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        latents = mean + (deviation / 2).exp() * noise
        sampled = self._network.decode(latents).sample.float()
        excess = 0.5 * (mean**2 + deviation.exp() - 1 - deviation).sum(dim=(1, 2, 3)).mean()
        error, figures = self._losses.loss(sampled, images, float(batch["share"]))
        return error + _DEVIATION * excess, figures | {"divergence": excess.detach()}

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write an `AutoencoderKL` whose scaling factor normalizes latents to unit variance."""
        put(self._network, weights)
        count = min(_MEASURED, len(self._scenes))
        rows = self._scenes.rows(np.arange(count))
        latents = encode_rows(self._network, rows, self._setting.device)
        self._network.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
        self._network.save_pretrained(folder)


def _losses(sizes: Sizes, setting: Setting) -> Reconstruction:
    perception = load_perception(setting.dependencies["perception"], setting.device)
    return Reconstruction(sizes.losses, perception.network, setting)


def _network(sizes: Sizes, side: int) -> Any:
    import diffusers

    make: Any = diffusers.AutoencoderKL
    steps = len(sizes.widths)
    return make(
        block_out_channels=sizes.widths,
        down_block_types=("DownEncoderBlock2D",) * steps,
        up_block_types=("UpDecoderBlock2D",) * steps,
        layers_per_block=1,
        latent_channels=sizes.channels,
        norm_num_groups=8,
        sample_size=side,
        mid_block_add_attention=False,
    )


class DecoderWork:
    """Reconstructs images from the latents of a frozen encoder; see `training.session.Task`."""

    def __init__(
        self, network: Any, sizes: Sizes, scenes: Scenes, latents: Chunks, setting: Setting
    ) -> None:
        self._network, self._scenes, self._latents = network, scenes, latents
        self._setting = setting
        self._losses = _losses(sizes, setting)
        self._items = sizes.plan.steps * sizes.plan.batch
        for name, parameter in self._network.named_parameters():
            parameter.requires_grad_(not is_encoder(name))

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The weights of the decoder."""
        decoder = {n: p for n, p in self._network.named_parameters() if not is_encoder(n)}
        return decoder | self._losses.parameters()

    def batch(self, first: int, count: int) -> dict[str, Tensor]:
        """Images and their latents."""
        numbers = in_order(len(self._scenes), first, count, self._setting.seed)
        images = as_tensors(self._scenes.rows(numbers))["picture"]
        share = self._losses.share(first / self._items)
        return {"picture": images, "latents": self._latents.of(numbers), "share": share}

    def loss(
        self,
        batch: Mapping[str, Tensor],
        generator: torch.Generator,
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss of the reconstructions from latents with a little noise, as generated ones have."""
        images = as_input(batch["picture"].to(self._setting.device))
        latents = batch["latents"].to(self._setting.device)
        scale = torch.rand(len(latents), 1, 1, 1, generator=generator, device=latents.device)
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        noisy = (latents + _NOISE * scale * noise) / self._network.config.scaling_factor
        sampled = self._network.decode(noisy).sample.float()
        return self._losses.loss(sampled, images, float(batch["share"]))

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the whole `AutoencoderKL`."""
        put(self._network, weights)
        self._network.save_pretrained(folder)


def latents_identity(folder: Path) -> str:
    """Return a hash of everything that determines the latents of a saved autoencoder."""
    return LatentSpace(load_part(folder)).identity


def prepare(sizes: Sizes, setting: Setting) -> Work | DecoderWork:
    """Render the scenes, and create the network or load the one to train further."""
    scenes = open_scenes("pictures", TRAINING_WORLD, sizes.scenes, setting.side, setting.monitor)
    finished = setting.dependencies.get("autoencoder")
    if finished is None:
        return Work(sizes, scenes, setting)
    network: Any = load_part(finished).to(setting.device)
    identity = latents_identity(finished)
    latents = open_latents(network, identity, scenes, setting.device, setting.monitor)
    return DecoderWork(network, sizes, scenes, latents, setting)


def complete(folder: Path, setting: Setting) -> None:
    """Nothing is added."""


def evaluate(folder: Path, count: int, setting: Setting) -> dict[str, float]:
    """Measure reconstructions of held-out scenes, and those of the autoencoder it came from.

    `edge_f1` is of the reconstruction's Canny edges, matched with those of the render within
    0.0075 of the diagonal, which at 64 pixels is the same pixel; `objects` is the share of objects
    that the judge finds at their place with their kind and colour, `objects_of_real` that in the
    renders. Those by chance compare with other scenes. Figures that end in `_before` are of the
    autoencoder among the dependencies, where there is one.
    """
    scenes = open_scenes("pictures", HELD_OUT_WORLD, count, setting.side, setting.monitor)
    rows = scenes.rows(np.arange(count))
    judge = load_judge(setting.dependencies["judge"], setting.device)
    figures = _compare(folder, rows, judge, setting.device)
    figures["objects_of_real"] = objects_right(rows, judge.judge(rows["picture"]))
    before = setting.dependencies.get("autoencoder")
    if before is not None:
        compared = _compare(before, rows, judge, setting.device)
        figures |= {f"{name}_before": compared[name] for name in ("psnr_db", "edge_f1", "objects")}
    return figures


def _compare(folder: Path, rows: Rows, judge: Judge, device: str) -> dict[str, float]:
    network: Any = load_part(folder).to(device)
    images = np.ascontiguousarray(rows["picture"])
    sampled = _reconstruct(network, images, device)
    decibels = psnr(as_input(torch.from_numpy(sampled)), as_input(torch.from_numpy(images)))
    drawn, found = (is_drawn(CONDITIONS["canny"].read(some)) for some in (images, sampled))
    seen = judge.judge(sampled)
    return {
        "psnr_db": float(decibels.mean()),
        "psnr_db_worst_twentieth": float(decibels.quantile(0.05)),
        "edge_f1": _edge_f1(drawn, found),
        "edge_f1_by_chance": _edge_f1(drawn, np.roll(found, 1, axis=0)),
        "objects": objects_right(rows, seen),
        "objects_by_chance": objects_right(rows, [*seen[1:], seen[0]]),
        "scaling_factor": float(network.config.scaling_factor),
    }


def _edge_f1(drawn: Bool[np.ndarray, "n h w"], found: Bool[np.ndarray, "n h w"]) -> float:
    pairs = [
        count_pairs(one.astype(float), [other]) for one, other in zip(found, drawn, strict=True)
    ]
    return quality_of(pairs).ods


def _reconstruct(
    network: Any, images: UInt8[np.ndarray, "n h w 3"], device: str
) -> UInt8[np.ndarray, "n h w 3"]:
    found = []
    for part in torch.split(torch.from_numpy(images), _BATCH):
        with torch.inference_mode():
            latents = network.encode(as_input(part.to(device))).latent_dist.mean
            found.append(network.decode(latents).sample.float().cpu())
    return to_levels((torch.cat(found) / 2 + 0.5).clamp(0, 1))


def sheet(folder: Path, setting: Setting) -> "Image":
    """Show held-out renders beside the reconstructions of this autoencoder and the one before."""
    scenes = open_scenes("pictures", HELD_OUT_WORLD, _SHOWN, setting.side, setting.monitor)
    images = np.ascontiguousarray(scenes.rows(np.arange(_SHOWN))["picture"])
    columns = {"render": images}
    for name, location in (("before", setting.dependencies.get("autoencoder")), ("now", folder)):
        if location is not None:
            network = load_part(location).to(setting.device)
            columns[name] = _reconstruct(network, images, setting.device)
    tiles = [column[number] for number in range(_SHOWN) for column in columns.values()]
    return image_sheet(tiles, len(columns), above=list(columns))

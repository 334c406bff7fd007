"""The autoencoder: images to latents at an eighth of their resolution, and back.

The decoder of a finished autoencoder can be trained further alone, also for images of twice the
side (see `doubling`). Its latents do not change, so models trained on them stay valid while images
become sharper or larger.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ..blocks.networks import (
    Judge,
    PerceptionNetwork,
    as_input,
    downsampled,
    load_judge,
    load_perception,
)
from ..blocks.scene import SIDE
from ..conditions.fidelity import is_drawn
from ..conditions.kinds import CONDITIONS
from ..diffusion.pipeline import LatentSpace, is_encoder, load_part
from ..diffusion.sampling import to_levels
from ..metrics.distributions import frechet_distance
from ..metrics.edges import count_pairs, quality_of
from ..metrics.plots import image_sheet
from ..training.session import Plan
from ..training.state import Loss, compiled_for, generator_for, in_order, initialise
from .cached import encode_rows, open_latents
from .doubling import distillation_loss, doubled, is_half_size, moments_of
from .judge import objects_right
from .registry import Setting
from .result import put
from .scenes import Chunks, Rows, Scenes, as_tensors, other_rows, training_scenes

if TYPE_CHECKING:
    from PIL.Image import Image

_LATE = 0.1  # share of the training over which the discriminator's influence grows


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the losses beside the L1 error of pixels.

    Attributes:
        edges: differences between neighboring pixels.
        features: of the perception network.
        discriminator: from `late` on.
        late: share of the training that passes before the discriminator begins.
    """

    edges: float = 0.25
    features: float = 0.1
    discriminator: float = 0.05
    late: float = 0.2

    def share(self, done: float) -> float:
        """Return the discriminator's influence where this share of the training is done."""
        return min(max((done - self.late) / _LATE, 0.0), 1.0)


class Discriminator(nn.Module):
    """Tells renders from reconstructions by patches of 22 pixels (Isola et al. 2017)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.GroupNorm(8, 2 * width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 3, padding=1),
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 y x"]:
        """Return a logit for each patch; positive for a render."""
        scores: Tensor = self.layers(images)
        return scores


class Reconstruction:
    """The loss of reconstructions, with the discriminator that is trained beside them."""

    def __init__(self, weights: Weights, perception: PerceptionNetwork, setting: Setting) -> None:
        self._weights = weights
        self._perception = perception.to(setting.device)
        self._discriminator = Discriminator()
        initialise(self._discriminator, generator_for(setting.seed, 1, "cpu"))
        self._discriminator.to(setting.device)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Those of the discriminator; no autoencoder has parameters of their names."""
        named = self._discriminator.named_parameters()
        return {f"discriminator.{name}": parameter for name, parameter in named}

    def share(self, done: float) -> Tensor:
        """Return the discriminator's influence, for the batch."""
        return torch.tensor(self._weights.share(done))

    def loss(
        self,
        sampled: Float[Tensor, "b 3 h w"],
        images: Float[Tensor, "b 3 h w"],
        share: float,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the sum of the losses, and what to log.

        Features and discriminator look at one section of images larger than `SIDE`, and features at
        the whole at that size too.

        Args:
            sampled: reconstructions, values from -1 to 1.
            images: renders.
            share: influence of the discriminator.
            generator: places the section.
        """
        weights = self._weights
        error = functional.l1_loss(sampled, images)
        edges = torch.stack(
            [functional.l1_loss(sampled.diff(dim=d), images.diff(dim=d)) for d in (2, 3)]
        ).sum()
        whole = (sampled, images)
        sampled, images = _section(*whole, generator)
        features = self._distance(sampled, images)
        if sampled is not whole[0]:
            features = features + self._distance(*(downsampled(part, SIDE) for part in whole))
        total = error + weights.edges * edges + weights.features * features
        figures = {
            "error": error.detach(),
            "features": features.detach(),
            "psnr_db": psnr(whole[0].detach(), whole[1]).mean(),
        }
        if share:
            deceived, learned = self._compete(sampled, images)
            total = total + share * weights.discriminator * deceived + learned
            figures |= {"deceived": deceived.detach(), "discriminator": learned.detach()}
        return total, figures

    def _distance(
        self, sampled: Float[Tensor, "b 3 h w"], images: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, ""]:
        """Mean squared distance of normalized features, as in LPIPS (Zhang et al. 2018)."""
        with torch.no_grad():
            requested = self._perception.pyramid.scales(images)
        distances = [
            (functional.normalize(a.float()) - functional.normalize(b.float())).square().sum(1)
            for a, b in zip(self._perception.pyramid.scales(sampled), requested, strict=True)
        ]
        return torch.stack([distance.mean() for distance in distances]).sum()

    def _compete(
        self, sampled: Float[Tensor, "b 3 h w"], images: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Return the hinge losses of reconstructions and discriminator, their gradients apart."""
        frozen = {name: p.detach() for name, p in self._discriminator.named_parameters()}
        deceived = -torch.func.functional_call(self._discriminator, frozen, sampled).float().mean()
        real, fake = self._discriminator(torch.cat([images, sampled.detach()])).float().chunk(2)
        return deceived, (functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()) / 2


def _section(
    sampled: Float[Tensor, "b 3 h w"], images: Float[Tensor, "b 3 h w"], generator: torch.Generator
) -> tuple[Float[Tensor, "b 3 y x"], Float[Tensor, "b 3 y x"]]:
    """Return the same square of `SIDE` pixels out of both."""
    room = images.shape[-1] - SIDE
    if room <= 0:
        return sampled, images
    y, x = torch.randint(room + 1, (2,), generator=generator, device=generator.device).tolist()
    part = (..., slice(y, y + SIDE), slice(x, x + SIDE))
    return sampled[part], images[part]


def psnr(
    sampled: Float[Tensor, "b 3 h w"], requested: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, " b"]:
    """Return the PSNR of each image in decibels; values are from -1 to 1."""
    error = (sampled.clamp(-1, 1) - requested).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(4 / error.clamp(min=1e-12))


_NOISE = 0.1  # largest standard deviation of noise on latents of unit variance
_MEASURED = 1024  # scenes on which the scale of the latents is measured
_BATCH = 64
_SHOWN = 12  # scenes of a sheet
_BESIDE = ("psnr_db", "edge_f1", "objects", "frechet")  # figures of the autoencoder before


@dataclass(frozen=True, slots=True)
class Sizes:
    """Hyperparameters.

    Attributes:
        plan: of the training.
        scenes: number of different ones.
        channels: of the latents.
        widths: from image to latents.
        losses: beside the L1 error of pixels.
        divergence: weight of the KL divergence of the latents from unit noise. With 2e-6, eight of
            the built-in model's 16 channels hold less than 0.1 nats a position.
        blend: share of the way from a finished decoder to the one trained further that is saved
            (network interpolation, Wang et al. 2018): sharpness for a fraction of the PSNR.
    """

    plan: Plan
    scenes: int
    channels: int
    widths: tuple[int, ...]
    losses: Weights = field(default_factory=Weights)
    divergence: float = 2e-6
    blend: float = 0.5


REAL = Sizes(
    plan=Plan(steps=8_500, batch=16, learning_rate=1e-3, warm_up=300, weight_decay=0.0),
    scenes=100_000,
    channels=16,
    widths=(16, 32, 64, 128),
)
LARGE = {"widths": (32, 64, 128, 128), "divergence": 3e-7}
# A finished autoencoder whose images are doubled, on two CPU cores.
DOUBLED = {
    "plan": Plan(steps=2_600, batch=8, learning_rate=4e-4, warm_up=100, weight_decay=0.0),
    "scenes": 16_384,
    "losses": Weights(late=0.6),
    "blend": 1.0,
}
TINY = Sizes(
    plan=Plan(steps=4, batch=4, learning_rate=1e-3, warm_up=2),
    scenes=12,
    channels=4,
    widths=(8, 8, 8, 8),
)


class Work:
    """Reconstructs images; see `training.session.Task`.

    Args:
        network: the autoencoder.
        sizes: hyperparameters.
        scenes: to reconstruct.
        latents: of these scenes, if they do not change; None to train the whole network.
        setting: seed, device and dependencies.
        teacher: the autoencoder for images of half the side whose latents the encoder learns to
            predict; None for any other training.
    """

    def __init__(
        self,
        network: Any,
        sizes: Sizes,
        scenes: Scenes,
        latents: Chunks | None,
        setting: Setting,
        teacher: Any = None,
    ) -> None:
        self._network, self._sizes, self._scenes = network, sizes, scenes
        self._latents, self._setting, self._teacher = latents, setting, teacher
        perception = load_perception(setting.dependencies["perception"], setting.device)
        self._losses = Reconstruction(sizes.losses, perception.network, setting)
        fixed = latents is not None and teacher is None
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not fixed or not is_encoder(name))
        self._encode = compiled_for(setting.device, partial(moments_of, network))
        self._decode = compiled_for(
            setting.device, lambda latents: network.decoder(network.post_quant_conv(latents))
        )
        self._before = deepcopy(network.state_dict()) if fixed else {}

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """All weights, or those of the decoder, and of the discriminator."""
        trained = {n: p for n, p in self._network.named_parameters() if p.requires_grad}
        return trained | self._losses.parameters()

    def batch(self, first: int, count: int) -> dict[str, Tensor]:
        """Images, and their latents if these do not change."""
        numbers = in_order(len(self._scenes), first, count, self._setting.seed)
        plan = self._sizes.plan
        share = self._losses.share(first / (plan.steps * plan.batch))
        batch = {"picture": as_tensors(self._scenes.rows(numbers))["picture"], "share": share}
        return batch if self._latents is None else batch | {"latents": self._latents.of(numbers)}

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Loss:
        """Loss of the reconstructions, and that of the encoder if it is trained."""
        images = as_input(batch["picture"].to(self._setting.device))
        if self._latents is None:
            mean, variance = self._encode(images).chunk(2, dim=1)
            variance = variance.clamp(-30, 20)  # of its logarithm, as diffusers does
            latents = mean + (variance / 2).exp() * _noise(mean, generator)
            excess = 0.5 * (mean**2 + variance.exp() - 1 - variance).sum(dim=(1, 2, 3)).mean()
            encoding, figures = self._sizes.divergence * excess, {"divergence": excess.detach()}
        else:  # with a little noise, as generated ones have
            given = batch["latents"].to(self._setting.device)
            scale = _NOISE * torch.rand(
                len(given), 1, 1, 1, generator=generator, device=given.device
            )
            noisy = given + scale * _noise(given, generator)
            latents = noisy / self._network.config.scaling_factor
            encoding, figures = self._distill(images)
        sampled = self._decode(latents).float()
        error, shown = self._losses.loss(sampled, images, float(batch["share"]), generator)
        return error + encoding, shown | figures

    def _distill(
        self, images: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the loss of an encoder distilled from a teacher, on some of the images."""
        if self._teacher is None:
            return torch.zeros((), device=images.device), {}
        some = images[::_DISTILLED]
        with torch.no_grad():
            requested = moments_of(self._teacher, downsampled(some, some.shape[-1] // 2))
        scale = float(self._network.config.scaling_factor)
        loss, error = distillation_loss(self._encode(some), requested, scale)
        return _DISTILLATION * loss, {"latents": error.detach()}

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write an `AutoencoderKL` whose scaling factor normalizes latents to unit variance."""
        blend = self._sizes.blend
        put(
            self._network,
            {n: torch.lerp(self._before.get(n, w), w, blend) for n, w in weights.items()},
        )
        if self._latents is None:
            rows = self._scenes.rows(np.arange(min(_MEASURED, len(self._scenes))))
            latents = encode_rows(self._network, rows, self._setting.device)
            self._network.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
        self._network.save_pretrained(folder)


_DISTILLED = 4  # every fourth image of a batch trains the encoder, where there is a teacher
_DISTILLATION = 0.1  # weight of its loss


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=like.device)


def _network(sizes: Sizes, setting: Setting) -> Any:
    import diffusers

    make: Any = diffusers.AutoencoderKL
    steps = len(sizes.widths)
    network = make(
        block_out_channels=sizes.widths,
        down_block_types=("DownEncoderBlock2D",) * steps,
        up_block_types=("UpDecoderBlock2D",) * steps,
        layers_per_block=1,
        latent_channels=sizes.channels,
        norm_num_groups=8,
        sample_size=setting.side,
        mid_block_add_attention=False,
    )
    initialise(network, generator_for(setting.seed, 0, "cpu"))
    return network


def latents_identity(folder: Path) -> str:
    """Return a hash of everything that determines the latents of a saved autoencoder."""
    return LatentSpace(load_part(folder)).identity


def prepare(sizes: Sizes, setting: Setting) -> Work:
    """Render the scenes, and create the network or load the one to train further."""
    scenes = training_scenes("pictures", sizes.scenes, setting)
    folder, device = setting.dependencies.get("autoencoder"), setting.device
    if folder is None:
        return Work(_network(sizes, setting).to(device), sizes, scenes, None, setting)
    finished: Any = load_part(folder).to(device)
    identity = latents_identity(folder)
    twice = is_half_size(finished, setting.side)
    latents = open_latents(finished, identity, scenes, device, setting.monitor)
    if not twice:
        return Work(finished, sizes, scenes, latents, setting)
    network = doubled(finished, identity, generator_for(setting.seed, 0, "cpu")).to(device)
    return Work(network, sizes, scenes, latents, setting, teacher=finished)


def evaluate(folder: Path, count: int, setting: Setting) -> dict[str, float]:
    """Measure reconstructions of held-out scenes, and those of the autoencoder it came from.

    `edge_f1` is of the reconstruction's Canny edges, matched with those of the render within
    0.0075 of the diagonal, which at 64 pixels is the same pixel; `objects` is the share of objects
    that the judge finds at their place with their kind and color, `objects_of_real` that in the
    renders; `frechet` is the distance of both sets in the judge's features. Those by chance
    compare with other scenes. Figures that end in `_before` are of the
    autoencoder among the dependencies, where there is one; if it is for half the side, its images
    are upsampled (bicubic), and `latents_unexplained` is the share of the variance of its latents
    that the new encoder does not explain.
    """
    rows = other_rows("pictures", count, setting)
    judge = load_judge(setting.dependencies["judge"], setting.device)
    figures = _compare(folder, rows, judge, setting.device)
    figures["objects_of_real"] = objects_right(rows, judge.judge(rows["picture"]))
    before = setting.dependencies.get("autoencoder")
    if before is not None:
        compared = _compare(before, rows, judge, setting.device)
        figures |= {f"{name}_before": compared[name] for name in _BESIDE}
        if is_half_size(load_part(before), setting.side):
            both = (load_part(one).to(setting.device) for one in (folder, before))
            found, requested = (encode_rows(network, rows, setting.device) for network in both)
            error = functional.mse_loss(found, requested)
            figures["latents_unexplained"] = float(error / requested.var())
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
        "frechet": frechet_distance(judge.features(sampled), judge.features(images)),
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
    """Encode and decode images at the autoencoder's own size, and upsample the result to theirs."""
    found, size = [], images.shape[1:3]
    for part in torch.split(torch.from_numpy(images), _BATCH):
        with torch.inference_mode():
            values = downsampled(as_input(part.to(device)), int(network.config.sample_size))
            sampled = network.decode(network.encode(values).latent_dist.mean).sample.float()
            if sampled.shape[2:] != size:
                sampled = functional.interpolate(sampled, size, mode="bicubic")
            found.append(sampled.cpu())
    return to_levels((torch.cat(found) / 2 + 0.5).clamp(0, 1))


def sheet(folder: Path, setting: Setting) -> "Image":
    """Show held-out renders beside the reconstructions of this autoencoder and the one before."""
    images = np.ascontiguousarray(other_rows("pictures", _SHOWN, setting)["picture"])
    columns = {"render": images}
    for name, location in (("before", setting.dependencies.get("autoencoder")), ("now", folder)):
        if location is not None:
            network = load_part(location).to(setting.device)
            columns[name] = _reconstruct(network, images, setting.device)
    tiles = [column[number] for number in range(_SHOWN) for column in columns.values()]
    return image_sheet(tiles, len(columns), above=list(columns))

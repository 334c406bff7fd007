"""The losses of reconstructed images: pixels, features of a frozen network, and a discriminator.

A mean error of pixels alone is smallest for a blur, the mean of all images that share a latent. As
in Esser et al., "Taming Transformers for High-Resolution Image Synthesis", 2021, features say where
edges are, and the discriminator, which comes late, what a surface looks like.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..blocks.perception import PerceptionNetwork
from ..training.state import generator_for, initialise
from .registry import Setting

_LATE = 0.1  # share of the training over which the discriminator's influence grows


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the losses beside the L1 error of pixels.

    Attributes:
        edges: differences between neighbouring pixels.
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
        self, sampled: Float[Tensor, "b 3 h w"], images: Float[Tensor, "b 3 h w"], share: float
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the sum of the losses, and what to log.

        Args:
            sampled: reconstructions, values from -1 to 1.
            images: renders.
            share: influence of the discriminator.
        """
        weights = self._weights
        error = functional.l1_loss(sampled, images)
        edges = torch.stack(
            [functional.l1_loss(sampled.diff(dim=d), images.diff(dim=d)) for d in (2, 3)]
        ).sum()
        features = self._distance(sampled, images)
        total = error + weights.edges * edges + weights.features * features
        figures = {
            "error": error.detach(),
            "features": features.detach(),
            "psnr_db": psnr(sampled.detach(), images).mean(),
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


def psnr(
    sampled: Float[Tensor, "b 3 h w"], requested: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, " b"]:
    """Return the PSNR of each image in decibels; values are from -1 to 1."""
    error = (sampled.clamp(-1, 1) - requested).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(4 / error.clamp(min=1e-12))

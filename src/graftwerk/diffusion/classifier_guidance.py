"""Tools for classifier guidance: gradients that do not vanish, and random views of an image.

Guidance that acts in all views of an image is not a mere pixel pattern.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def softened(log_prob: Callable[[Tensor], Tensor], logits: Tensor, temperature: float) -> Tensor:
    """Return `log_prob(logits)` with its gradient taken at a temperature.

    The gradient is that of `temperature * log_prob(logits / temperature)`: about the same while
    the classifier is uncertain, but it does not vanish when the classifier is confident.

    Args:
        log_prob: from logits to log-probabilities.
        logits: of a classifier.
        temperature: 1 for the gradient of the value itself.
    """
    value = log_prob(logits)
    if temperature == 1:
        return value
    soft = temperature * log_prob(logits / temperature)
    return soft + (value - soft).detach()


_MOVE = 0.15  # maximum, as a fraction of half the image's side
_ZOOM = 0.1  # maximum, as a fraction of the image's size
_GRAIN = 0.03  # standard deviation, for values from 0 to 1


def views(
    images: Float[Tensor, "b k y x"], count: int, seed: int
) -> list[Float[Tensor, "b k y x"]]:
    """Return slightly shifted, zoomed and noisy copies of each image, with a gradient.

    Borders are mirrored. Athalye, Engstrom, Ilyas, Kwok, "Synthesizing Robust Adversarial
    Examples", 2018, section 2.1: the expectation over transformations.

    Args:
        images: with values from 0 to 1.
        count: number of views; each is the same for all images.
        seed: of the random transformations.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        zoom, *move = (2 * torch.rand(3, generator=generator) - 1).tolist()
        moved = torch.tensor(
            [[1 + _ZOOM * zoom, 0.0, _MOVE * move[0]], [0.0, 1 + _ZOOM * zoom, _MOVE * move[1]]]
        ).to(images)
        grid = functional.affine_grid(
            moved.expand(len(images), 2, 3), list(images.shape), align_corners=False
        )
        seen = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        grain = torch.randn(images.shape[1:], generator=generator).to(images)
        found.append(seen + _GRAIN * grain)
    return found

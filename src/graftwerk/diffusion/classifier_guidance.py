"""Views of an image that show the same: what pulls in all of them is no pattern of pixels.

Log-probabilities that still have a slope where a classifier is sure.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def softened(log_prob: Callable[[Tensor], Tensor], logits: Tensor, temperature: float) -> Tensor:
    """The value of `log_prob(logits)`, with the gradient at a temperature.

    That is of `temperature * log_prob(logits / temperature)`: alike where the classifier is in
    doubt; where it is sure, it goes on pulling.

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


_MOVE = 0.15  # of half the image's side, at most
_ZOOM = 0.1  # of the image's size, at most
_GRAIN = 0.03  # standard deviation, of values 0 to 1


def views(
    pictures: Float[Tensor, "b k y x"], count: int, seed: int
) -> list[Float[Tensor, "b k y x"]]:
    """Each image moved, zoomed and grained a little, with a gradient; borders are mirrored.

    Athalye, Engstrom, Ilyas, Kwok, "Synthesizing Robust Adversarial Examples", 2018, section 2.1:
    the expectation over transformations.

    Args:
        pictures: of values 0 to 1.
        count: of views, each the same of all images.
        seed: of what is generated.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        zoom, *move = (2 * torch.rand(3, generator=generator) - 1).tolist()
        moved = torch.tensor(
            [[1 + _ZOOM * zoom, 0.0, _MOVE * move[0]], [0.0, 1 + _ZOOM * zoom, _MOVE * move[1]]]
        ).to(pictures)
        grid = functional.affine_grid(
            moved.expand(len(pictures), 2, 3), list(pictures.shape), align_corners=False
        )
        seen = functional.grid_sample(
            pictures, grid, padding_mode="reflection", align_corners=False
        )
        grain = torch.randn(pictures.shape[1:], generator=generator).to(pictures)
        found.append(seen + _GRAIN * grain)
    return found

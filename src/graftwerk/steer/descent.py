"""Gradient descent on an input: the general, slow way to make a network's output what one wants.

Where the space of inputs is not well-behaved, it finds inputs that only the network takes for what
was wanted (Szegedy et al., "Intriguing properties of neural networks", 2013).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import BadInput

Batch = Float[Tensor, "b c h w"]
Loss = Callable[[Batch], Float[Tensor, " b"]]


def descend(
    start: Batch,
    loss: Loss,
    steps: int,
    rate: float,
    *,
    bounds: tuple[float, float] | None = None,
    watch: Callable[[int, Batch, Float[Tensor, " b"]], None] | None = None,
) -> Batch:
    """Move each row down its loss with Adam, alone: rows do not see each other.

    Args:
        start: where it begins.
        loss: one number a row, differentiable.
        steps: gradient steps.
        rate: learning rate.
        bounds: least and largest value; None for none.
        watch: told of the step's number from 0, the input and its losses, once more after the last
            step; it may raise to stop.

    Raises:
        BadInput: the loss is not finite or has no gradient.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = start.clone().detach().requires_grad_()
        optimizer = torch.optim.Adam([x], lr=rate)
        for number in range(steps + 1):
            values = loss(x)
            if not bool(torch.isfinite(values).all()):
                raise BadInput(
                    f"the loss is not finite at step {number}.", "Take a smaller --rate."
                )
            if watch is not None:
                watch(number, x.detach(), values.detach())
            if number == steps:
                break
            if not values.requires_grad:
                raise BadInput(
                    "the loss has no gradient: it does not depend on the input in a way that "
                    "PyTorch can differentiate.",
                    "Compute it with PyTorch's operations alone.",
                )
            optimizer.zero_grad()
            values.sum().backward()
            optimizer.step()
            if bounds is not None:
                with torch.no_grad():
                    x.clamp_(*bounds)
    return x.detach()

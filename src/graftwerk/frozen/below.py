"""What a network computes below one of its blocks, kept and given back, so that it is paid once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadInput
from .trainable import Inputs, Trainable


class _Reached(Exception):
    """The block has given its output; nothing above it is needed."""


class Below:
    """The lower part of an encoder.

    What lies before the blocks (embeddings, masks) is computed each time, for it is cheap and the
    blocks need the masks.
    """

    def __init__(self, trainable: Trainable, block: int) -> None:
        """Cut below block number `block`, which is at least 1.

        Raises:
            BadInput: there are no such blocks.
        """
        self._trainable = trainable
        self._blocks = list(trainable.blocks())
        if not 1 <= block < len(self._blocks):
            raise BadInput(
                f"the network has {len(self._blocks)} blocks; {len(self._blocks) - block} of them "
                "cannot be its top.",
                f"Allowed: 1 to {len(self._blocks) - 1}.",
            )
        self._block = block
        self._in_tuple = False
        self._given: Tensor | None = None

    def states(self, inputs: Inputs) -> Tensor:
        """What the block gets, [b t d] or [b c h w], without gradients."""
        caught: list[Tensor] = []

        def catch(_module: nn.Module, _arguments: Any, output: Any) -> None:
            self._in_tuple = isinstance(output, tuple)
            caught.append(output[0] if self._in_tuple else output)
            raise _Reached

        handle = self._blocks[self._block - 1].register_forward_hook(catch)
        try:
            with torch.no_grad():
                self._trainable.encode(inputs)
        except _Reached:
            pass
        finally:
            handle.remove()
        return caught[0]

    def encode(self, inputs: Inputs, states: Tensor) -> Tensor:
        """Vectors from states that were kept; only inside of `skipped`, and after `states`."""
        self._given = states.to(self._trainable.device)
        return self._trainable.encode(inputs)

    @contextmanager
    def skipped(self) -> Iterator[None]:
        """The blocks below pass on what `encode` was given, for the time of this."""

        def pass_on(*_inputs: Any, **_options: Any) -> Any:
            return (self._given,) if self._in_tuple else self._given

        below = self._blocks[: self._block]
        for module in below:
            module.forward = pass_on
        try:
            yield
        finally:
            for module in below:
                del module.forward
            self._given = None

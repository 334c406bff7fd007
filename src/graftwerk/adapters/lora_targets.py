"""Which layers of a network a low-rank steer changes: found by their place, not by a model's name.

A projection of attention or of an MLP is a linear map inside a repeated block. Embeddings, poolers,
heads and the layers around the blocks lie outside of every block and are left alone.
"""

from collections.abc import Iterator, Sequence
from typing import TypeGuard

from torch import nn

from ..errors import BadInput

_SHOWN = 12  # kinds of layers that an error lists


def is_projection(module: nn.Module) -> bool:
    """Whether it is of a class that a low-rank steer can change."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D) or _is_plain_convolution(module)


def is_transposed(module: nn.Module) -> bool:
    """Whether a projection keeps its weight as inputs by outputs, as GPT-2 does."""
    return not isinstance(module, nn.Linear | nn.Conv2d)


def find_targets(network: nn.Module) -> tuple[str, ...]:
    """Paths of all projections of attention and MLPs, in the network's order.

    Taken are linear maps, and convolutions over one pixel, that lie inside a repeated block, but
    not beside a convolution that mixes neighbouring places: those only bring the time or a
    shortcut into a convolutional block. A network without linear maps is one of convolutions; there
    all convolutions inside repeated blocks are taken.

    Raises:
        BadInput: the network has neither.
    """
    inside = [(path, m) for path, m in _reached(network) if _in_block(network, path)]
    dense = [(path, m) for path, m in inside if not _is_plain_convolution(m) or _is_pixelwise(m)]
    chosen = [(path, m) for path, m in dense if not _beside_convolution(network, path)]
    if all(_is_plain_convolution(module) for _, module in chosen):
        chosen = [(path, module) for path, module in inside if _is_plain_convolution(module)]
    found = tuple(path for path, _ in chosen)
    if not found:
        raise BadInput(
            f"{type(network).__name__} has no linear layer inside a repeated block, so no place "
            "for a low-rank steer is known.",
            "Name its layers with --targets.",
        )
    return found


def named_targets(network: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Paths of the layers that carry one of these names: a whole path, or its end.

    Raises:
        BadInput: a name fits no layer that can be changed.
    """
    candidates = [path for path, _ in _reached(network)]
    found = []
    for name in names:
        fitting = [path for path in candidates if f".{path}".endswith(f".{name}")]
        if not fitting:
            kinds = list(dict.fromkeys(path.rpartition(".")[2] for path in candidates))
            more = f" and {len(kinds) - _SHOWN} more" if len(kinds) > _SHOWN else ""
            raise BadInput(
                f"no layer of {type(network).__name__} is named {name!r}.",
                f"Its layers: {', '.join(kinds[:_SHOWN])}{more}.",
            )
        found += fitting
    return tuple(path for path in candidates if path in set(found))


def _reached(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Projections whose `forward` is called.

    PyTorch's own attention reads the weights of its parts without calling them.
    """
    closed = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    shut = [f"{path}." for path, module in network.named_modules() if isinstance(module, closed)]
    for path, module in network.named_modules():
        if path and is_projection(module) and not path.startswith(tuple(shut)):
            yield path, module


def _in_block(network: nn.Module, path: str) -> bool:
    """Whether it lies inside an entry of a list of blocks, and is not such an entry itself."""
    names = path.split(".")
    for depth in range(len(names) - 1):
        parent = network.get_submodule(".".join(names[:depth]))
        if isinstance(parent, nn.ModuleList) or _repeats(parent):
            return True
    return False


def _repeats(parent: nn.Module) -> bool:
    """Whether it is a sequence with two blocks of one class, as convolutional networks have."""
    if not isinstance(parent, nn.Sequential):
        return False
    kinds = [type(child) for child in parent if next(child.children(), None) is not None]
    return len(kinds) > len(set(kinds))


def _beside_convolution(network: nn.Module, path: str) -> bool:
    parent = network.get_submodule(path.rpartition(".")[0])
    return any(
        _is_plain_convolution(child) and not _is_pixelwise(child) and child.stride == (1, 1)
        for child in parent.children()
    )


def _is_plain_convolution(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return isinstance(module, nn.Conv2d) and module.groups == 1


def _is_pixelwise(module: nn.Conv2d) -> bool:
    return module.kernel_size == (1, 1)

"""Select the layers that a LoRA adapter changes, by their location rather than by model names.

Projections of attention and MLPs are linear layers inside a repeated block. Embeddings, poolers,
heads and the layers around the blocks are outside of every block and are not changed.
"""

from collections.abc import Iterator, Sequence
from typing import TypeGuard

from torch import nn

from ..errors import BadInput, few

_SHOWN = 12  # layer names listed in an error


def is_projection(module: nn.Module) -> bool:
    """Whether a LoRA adapter can change a module of this class."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D) or _is_plain_convolution(module)


def is_transposed(module: nn.Module) -> bool:
    """Whether a projection stores its weight as inputs by outputs, as in GPT-2."""
    return not isinstance(module, nn.Linear | nn.Conv2d)


def find_targets(network: nn.Module) -> tuple[str, ...]:
    """Return the paths of all projections of attention and MLPs, in the network's order.

    Selected are linear layers, and 1 x 1 convolutions, inside a repeated block, except next to a
    convolution with a larger kernel: there they only add the time embedding or a shortcut to a
    convolutional block. In a purely convolutional network all convolutions inside repeated blocks
    are selected.

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
            "for a LoRA is known.",
            "Name its layers with --targets.",
        )
    return found


def named_targets(network: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of the layers that match one of these names: a full path, or its end.

    Raises:
        BadInput: a name matches no layer that can be changed.
    """
    candidates = [path for path, _ in _reached(network)]
    found = []
    for name in names:
        fitting = [path for path in candidates if f".{path}".endswith(f".{name}")]
        if not fitting:
            last = dict.fromkeys(path.rpartition(".")[2] for path in candidates)
            kinds = [name for name in last if not name.isdigit()]
            raise BadInput(
                f"no layer of {type(network).__name__} is named {name!r}.",
                f"Its layers: {few(kinds, _SHOWN)}.",
            )
        found += fitting
    return tuple(path for path in candidates if path in set(found))


def _reached(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the projections whose `forward` is called.

    PyTorch's own attention uses the weights of its submodules without calling them.
    """
    closed = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    shut = [f"{path}." for path, module in network.named_modules() if isinstance(module, closed)]
    for path, module in network.named_modules():
        if path and is_projection(module) and not path.startswith(tuple(shut)):
            yield path, module


def _in_block(network: nn.Module, path: str) -> bool:
    names = path.split(".")
    for depth in range(len(names) - 1):
        parent = network.get_submodule(".".join(names[:depth]))
        if isinstance(parent, nn.ModuleList) or _repeats(parent):
            return True
    return False


def _repeats(parent: nn.Module) -> bool:
    """Whether a module is a sequence with two blocks of one class, as in CNNs."""
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

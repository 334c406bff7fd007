"""Networks whose code is this package's own: `config.json` and `model.safetensors`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from ..errors import BadFile
from .checkpoint import check_safetensors, read_object

WEIGHTS = "model.safetensors"


Network = TypeVar("Network", bound=nn.Module)


def load_own(
    folder: Path, model_type: str, make: Callable[[Mapping[str, Any]], Network]
) -> Network:
    """Load a network in float32, ready to run, on the CPU.

    Args:
        folder: the model's folder.
        model_type: what its `config.json` must say that it is.
        make: from the configuration to the network.

    Raises:
        BadFile: it is of another type, or its parts do not fit.
        Damaged: the weight file is cut short or malformed.
    """
    from safetensors.torch import load_file

    config = read_object(folder / "config.json")
    if config.get("model_type") != model_type:
        raise BadFile(
            f"{folder} holds a model of type {config.get('model_type')!r}, not {model_type!r}.",
            "Name a folder that the recipe of that model wrote.",
        )
    path = folder / WEIGHTS
    if not path.is_file():
        raise BadFile(f"{folder} lacks its weights {path.name}.", "Copy the whole folder again.")
    check_safetensors(path)
    try:
        network = make(config)
        network.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BadFile(
            f"the weights in {folder} do not fit its config.json: {error}",
            "Copy the whole folder again.",
        ) from error
    return network.eval().requires_grad_(False)

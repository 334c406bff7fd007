"""Sizes that a pipeline draws, as its configuration says them without its networks."""

from dataclasses import dataclass
from typing import Any

from ...errors import BadInput
from .folder import PipelineFolder, read_config


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a pipeline draws.

    Attributes:
        multiple: a side in pixels must be a multiple of this.
        own: width and height in pixels that it was trained on.
    """

    multiple: int
    own: tuple[int, int]


def read_sizes(folder: PipelineFolder) -> Sizes | None:
    """Sizes of a checked folder; None where its files leave them to defaults of diffusers.

    Raises:
        BadFile: a configuration cannot be read.
    """
    network = read_config(folder.path / "unet")
    coder = read_config(folder.path / "vae") if folder.layout.latent else network
    side, widths = network.get("sample_size"), coder.get("block_out_channels")
    sides: list[Any] = side if isinstance(side, list) else [side]
    if not isinstance(widths, list) or not sides or not all(isinstance(s, int) for s in sides):
        return None
    multiple = 2 ** max(len(widths) - 1, 0)
    factor = multiple if folder.layout.latent else 1
    return Sizes(multiple, (sides[-1] * factor, sides[0] * factor))


def require_multiples(model: str, multiple: int, width: int, height: int) -> None:
    """See that a model can draw pictures of a size.

    Raises:
        BadInput: it cannot.
    """
    for name, side in (("width", width), ("height", height)):
        if side % multiple:
            near = max(round(side / multiple), 1) * multiple
            raise BadInput(
                f"{name} {side} is not possible with model {model!r}.",
                f"Its sides are multiples of {multiple}, for example {near}.",
            )

"""Decoded batches as pictures, and many pictures as one sheet."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from ..frozen.diffusion.model import DiffusionModel

Picture: TypeAlias = Image.Image
# A decoder takes several KB of memory for each pixel.
_DECODED_PIXELS = 2**19
_SHEET_SIDE = 4096  # pixels at most
_SHEET_GAP = 4


def decode(model: DiffusionModel, drawn: Float[Tensor, "b c h w"]) -> list[Picture]:
    """What a sampler drew as pictures, 8 bits a channel."""
    with torch.inference_mode():
        rows = max(1, _DECODED_PIXELS // (drawn.shape[2] * drawn.shape[3] * model.factor**2))
        decoded = torch.cat([model.decode(some) for some in torch.split(drawn, rows)])
        levels = (decoded * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(row.squeeze(-1) if row.shape[-1] == 1 else row) for row in levels]


def contact_sheet(images: Sequence[Picture]) -> Picture:
    """Pictures of one size in rows on white, made smaller where the sheet would be too large."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    room = _SHEET_SIDE // columns - _SHEET_GAP
    scale = min(1.0, room / max(images[0].size))
    width, height = (max(1, round(side * scale)) for side in images[0].size)
    across, down = width + _SHEET_GAP, height + _SHEET_GAP
    sheet = Image.new(
        "RGB", (columns * across + _SHEET_GAP, rows * down + _SHEET_GAP), (255, 255, 255)
    )
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        tile = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(tile, (_SHEET_GAP + column * across, _SHEET_GAP + row * down))
    return sheet


def film_strip(images: Sequence[Picture]) -> Picture:
    """Pictures of one size in one row on white."""
    width, height = images[0].size
    across = width + _SHEET_GAP
    strip = Image.new(
        "RGB", (len(images) * across + _SHEET_GAP, height + 2 * _SHEET_GAP), (255, 255, 255)
    )
    for place, image in enumerate(images):
        strip.paste(image.convert("RGB"), (_SHEET_GAP + place * across, _SHEET_GAP))
    return strip

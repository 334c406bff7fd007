"""The pictures of an ablation side by side: a row a branch, a column a kind of prompt."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from ..control.grid import strip_of
from .ablating import Ground
from .trials import SHOWN, Trial

_TILE, _GAP, _LEFT, _HEAD = 96, 14, 98, 26  # pixels
_INK = (40, 40, 40)


def draw_sheet(ground: Ground, trials: Sequence[Trial]) -> Image.Image:
    """The conditions above, then what each branch makes of them under each prompt.

    Args:
        ground: says the conditions and prompts.
        trials: of one seed, whose pictures are kept in their folders.
    """
    wanted = strip_of(ground.wanted[:SHOWN])
    scale = _TILE / ground.model.size[0]
    width, height = round(wanted.width * scale), round(wanted.height * scale)
    prompts = list(ground.prompts)
    size = (_LEFT + len(prompts) * (width + _GAP), _HEAD + (1 + len(trials)) * (height + _GAP))
    sheet = Image.new("RGB", size, (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    names = [ground.request.condition, *(trial.name for trial in trials)]
    for row, name in enumerate(names):
        top = _HEAD + row * (height + _GAP)
        pen.text((6, top + height // 2 - 7), name, fill=_INK, font_size=13)
        for column, prompt in enumerate(prompts):
            left = _LEFT + column * (width + _GAP)
            if row == 0:
                pen.text((left, 6), f"prompt: {prompt}", fill=_INK, font_size=13)
                strip = wanted
            else:
                with Image.open(trials[row - 1].folder / f"{prompt}.png") as image:
                    strip = image.convert("RGB")
            method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
            sheet.paste(strip.resize((width, height), method), (left, top))
    return sheet

"""Generate the image at the top of the README: a render, its conditions, and what follows them.

    python docs/hero.py [FILE]

Everything comes from the built-in models; the images that they generate have 128 x 128 pixels.
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import graftwerk as gw

SCENE, SEED = 20, 3
KINDS = ("canny", "depth", "segmentation")
PROMPTS = ("an orange cone on grass by day", "a blue cone on sand at sunset")
TILE, GAP, LABEL = 192, 8, 26


def inputs(folder: Path) -> tuple[Image.Image, list[Image.Image]]:
    """A render of a scene of one object, and a condition of each kind."""
    gw.run(gw.BlocksRender(count=SCENE + 1, size=128, objects=1, seed=0, out=folder / "scenes"))
    file = sorted((folder / "scenes").glob("train/*.png"))[SCENE]
    maps = []
    for kind in KINDS:
        out = folder / f"{kind}.png"
        gw.run(gw.MakeCondition(kind=kind, image=file, out=out))
        maps.append(Image.open(out).convert("RGB"))
    return Image.open(file).convert("RGB"), maps


def main(out: Path) -> None:
    """Write the image."""
    with tempfile.TemporaryDirectory() as name:
        render, maps = inputs(Path(name))
    pipeline = gw.Pipeline("builtin/blocks")
    rows = [[render, *maps]]
    for prompt in PROMPTS:
        row = [pipeline.generate(prompt, n=1, seed=SEED).images[0]]
        for kind, image in zip(KINDS, maps, strict=True):
            control = gw.ControlNet(f"builtin/blocks-{kind}")(image, is_map=True)
            row.append(pipeline.with_(control).generate(prompt, n=1, seed=SEED).images[0])
        rows.append(row)
    labels = [["a render", *KINDS]] + [
        [f'"{prompt}"', *(f"with {kind}" for kind in KINDS)] for prompt in PROMPTS
    ]
    sheet(rows, labels).save(out, optimize=True)


def sheet(rows: list[list[Image.Image]], labels: list[list[str]]) -> Image.Image:
    """Tiles with a label below each."""
    font = ImageFont.load_default(12)
    width = len(rows[0]) * (TILE + GAP) + GAP
    canvas = Image.new("RGB", (width, len(rows) * (TILE + LABEL) + GAP), "white")
    write = ImageDraw.Draw(canvas)
    for y, (row, names) in enumerate(zip(rows, labels, strict=True)):
        for x, (tile, label) in enumerate(zip(row, names, strict=True)):
            left, top = GAP + x * (TILE + GAP), GAP + y * (TILE + LABEL)
            canvas.paste(tile.resize((TILE, TILE), Image.Resampling.BICUBIC), (left, top))
            write.text((left, top + TILE + 4), label, "#333333", font)
    return canvas


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images" / "hero.png")

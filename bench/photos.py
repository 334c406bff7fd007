"""The classifier that `graft models fetch imagenet` gets, on photographs named by class, and what
its features are worth for other classes, beside the built-in CLIP and chance.

    python -m bench photos --data ../shared/data

Photographs lie in `photos/photos.zip` as `WNID_name.jpg`; an ambiguous name counts as wrong. Small
images lie in `cifar10/train.zip` and `test.zip`, a folder a class.
"""

import argparse
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import graftwerk as gw
from graftwerk.errors import UnknownName
from graftwerk.models.checkpoint import class_number
from graftwerk.models.encoders import load_encoder
from graftwerk.models.image_encoder import ImageEncoder, as_logits

TRAINED, TESTED = 200, 100  # images of each class for the linear probe


def read(archive: zipfile.ZipFile, name: str) -> Image.Image:
    """One image of a zip."""
    return Image.open(io.BytesIO(archive.read(name))).convert("RGB")


def top(encoder: ImageEncoder, path: Path) -> tuple[float, float, int]:
    """Share of photographs whose class is first, among the first five, and their number."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        logits = as_logits(encoder).encode_images([read(archive, name) for name in names])
    first = five = 0
    for name, row in zip(names, logits, strict=True):
        label = Path(name).stem.partition("_")[2].replace("_", " ")
        try:
            right = class_number(encoder.classes, label)
        except UnknownName:
            continue
        best = np.argsort(-row)[:5]
        first, five = first + int(right == best[0]), five + int(right in best)
    return first / len(names), five / len(names), len(names)


def labelled(path: Path, each: int) -> tuple[list[Image.Image], list[str]]:
    """The first so many images of each class, and their classes."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in sorted(archive.namelist()) if name.endswith(".jpg")]
        classes = sorted({name.split("/")[0] for name in names})
        chosen = [name for c in classes for name in _of(names, c)[:each]]
        images = [read(archive, name) for name in chosen]
    return images, [name.split("/")[0] for name in chosen]


def _of(names: Sequence[str], label: str) -> list[str]:
    return [name for name in names if name.startswith(f"{label}/")]


def probe(model: str, folder: Path) -> float:
    """Accuracy of a linear head on frozen features, as `graft fit --how linear` makes it."""
    head = gw.Classifier(model, method="linear", device="cpu")
    head.fit(*labelled(folder / "train.zip", TRAINED))
    return float(head.score(*labelled(folder / "test.zip", TESTED)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    encoder = load_encoder("imagenet", device="cpu")
    if not isinstance(encoder, ImageEncoder):
        raise TypeError("imagenet is an image encoder")
    first, five, count = top(encoder, data / "photos" / "photos.zip")
    print(
        f"imagenet on {count} photographs: top-1 {first:.1%}, top-5 {five:.1%} (chance 0.1%, 0.5%)"
    )
    print(f"linear probe, {10 * TRAINED:,} images of CIFAR-10, {10 * TESTED:,} to test on:")
    for model in ("imagenet", "builtin/blocks-clip"):
        print(f"  {model:24}{probe(model, data / 'cifar10'):.3f}")
    print(f"  {'chance':24}{0.1:.3f}")


if __name__ == "__main__":
    main()

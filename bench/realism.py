"""Whether the realism checks tell photographs from what is none, with a real classifier.

    python -m bench realism --data ../shared/data

Half of the photographs calibrate the checks; the others are compared with as many images of each
kind: noise, blurred photographs, photographs cut into tiles and shuffled, images optimized from
faint noise towards a class of the classifier, photographs optimized towards another class, by few
small steps and by as many and as large ones as the noise, and images of Blocks scenes that
`builtin/blocks` generates. An AUC of .5 is chance.
"""

import argparse
import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

import graftwerk as gw
from graftwerk.diffusion.sampling import descend, stretch, to_images, to_levels, to_values
from graftwerk.generation.authenticity import LIMIT, ImageBatch, open_realism_check
from graftwerk.generation.guidance_report import chances_of
from graftwerk.generation.guides import GuideModels, Settings
from graftwerk.generation.realism_measures import fakes_of
from graftwerk.generation.results import ImageVerdict
from graftwerk.generation.spec import Guide
from graftwerk.types import Silent

STEPS, RATE = 40, 0.02  # the defaults of `graft invert` in pixels
NEAR_STEPS, NEAR_RATE = 10, 0.004  # changes of a photograph that are hard to see
BATCH = 10


def photographs(path: Path) -> list[Image.Image]:
    """All photographs of a zip, in an order of chance."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        images = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names]
    return [images[k] for k in np.random.default_rng(0).permutation(len(images))]


def optimized(
    models: GuideModels, starts: torch.Tensor, labels: list[str], near: bool
) -> ImageBatch:
    """Images moved towards a class each by gradient descent on their pixels."""
    found = []
    asks = [models.clean(Guide("class", label, 1.0))[0] for label in labels]
    steps, rate = (NEAR_STEPS, NEAR_RATE) if near else (STEPS, RATE)
    for begin in range(0, len(starts), BATCH):
        own = asks[begin : begin + BATCH]

        def loss(x: torch.Tensor, own: list[Callable[..., torch.Tensor]] = own) -> torch.Tensor:
            return torch.cat([-ask(x[k : k + 1]) for k, ask in enumerate(own)])

        part = starts[begin : begin + BATCH]
        moved = descend(part, loss, steps, rate, bounds=(0.0, 1.0))
        found += to_images(to_levels(moved))
        print(f"optimized {len(found)} of {len(starts)}", flush=True)
    return stretch(found, found[0].size)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--count", type=int, default=100, help="images of each kind")
    parser.add_argument("--classifier", default="imagenet")
    options = parser.parse_args()
    photos = photographs(options.data / "photos" / "photos.zip")
    known, tested = photos[options.count : 2 * options.count], photos[: options.count]
    models = GuideModels(Settings(options.classifier, (), ""), None)
    head = models.networks.head(options.classifier)
    if head is None:
        raise SystemExit(f"{options.classifier} is no image classifier")
    with tempfile.TemporaryDirectory() as folder:
        for number, photo in enumerate(known):
            photo.save(Path(folder) / f"{number:03d}.png")
        check = open_realism_check(None, folder, Silent(), head.encoder)
    print(f"self-test: {check.self_test}")
    real = stretch(tested, check.size, check.crops)
    rng = np.random.default_rng(1)
    labels = [head.encoder.classes[k] for k in rng.permutation(len(head.encoder.classes))]
    labels = labels[: len(real)]
    faint = 0.5 + 0.1 * torch.randn(
        len(real), 3, *check.size[::-1], generator=torch.Generator().manual_seed(1)
    )
    blocks = gw.Pipeline("builtin/blocks")
    sets: dict[str, ImageBatch] = {"photographs": real}
    sets |= fakes_of(real, seed=2)
    sets["optimized from faint noise"] = optimized(models, faint.clamp(0, 1), labels, near=False)
    for name, near in (("photographs optimized to another class", True), ("the same, far", False)):
        sets[name] = optimized(models, to_values(real), labels, near=near)
        moved = np.abs(sets[name].astype(float) - real).mean()
        print(f"{name}: pixels changed by {moved:.1f} of 255 on average", flush=True)
    sets["generated images of Blocks scenes"] = stretch(
        blocks.generate("", n=len(real), steps=25, seed=3).images, check.size
    )
    print("| kind | images | AUC of the strangeness | like real | guide certain | medians |")
    print("|---|---|---|---|---|---|")
    strangeness: dict[str, list[float]] = {}
    for name, images in sets.items():
        verdicts: list[ImageVerdict] = check.testify([name] * len(images), images, None, None)
        chances = np.array(
            [
                float(chances_of(models, label, images[k : k + 1])[0])
                for k, label in enumerate(labels)
            ]
        )
        strangeness[name] = [one.strangeness for one in verdicts]
        usual = strangeness["photographs"]
        truth = [0] * len(usual) + [1] * len(images)
        auc = roc_auc_score(truth, usual + strangeness[name]) if name != "photographs" else 0.5
        like_real = np.mean([one <= LIMIT for one in strangeness[name]])
        cells = f"{auc:.3f} | {like_real:.2f} | {(chances > 0.5).mean():.2f}"
        print(f"| {name} | {len(images)} | {cells} | {medians(verdicts)} |")


def medians(verdicts: list[ImageVerdict]) -> str:
    """The median of each measure."""
    readings: dict[str, list[float]] = {}
    for verdict in verdicts:
        for check in verdict.witnesses:
            readings.setdefault(check.name, []).append(check.reading)
    return ", ".join(f"{name} {np.median(values):.2f}" for name, values in readings.items())


if __name__ == "__main__":
    main()

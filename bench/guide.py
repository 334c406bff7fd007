"""What guiding costs, whether the realism checks tell baselines from guided images, and inversion.

Classes and seeds are others than the realism checks' limit was chosen on.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from graftwerk.diffusion.guidance import GradientGuide, Guidance, Term, guided_by
from graftwerk.diffusion.noise_schedule import noise_levels
from graftwerk.diffusion.pipeline import DiffusionModel, load_diffusion
from graftwerk.diffusion.samplers import sample_ddim
from graftwerk.diffusion.sampling import (
    Plan,
    decode,
    descend,
    encode,
    invert_ddim,
    sample_batch,
    stretch,
)
from graftwerk.generation.authenticity import LIMIT, ImageBatch, open_realism_check
from graftwerk.generation.guidance_report import chances_of
from graftwerk.generation.guides import GuideModels, Settings
from graftwerk.metrics.distributions import psnr
from graftwerk.recipes.scenes import open_scenes
from graftwerk.requests.base import DEFAULT_GUIDE
from graftwerk.types import Silent

CLASSES = ("yellow sphere", "white cylinder", "purple cone", "black cube", "orange person")
WORLD, SEED, SCALE = 6, 4242, 10.0
ROWS, REPEATS = 16, 9
STEPS, RATE = 100, 0.05  # of the baseline in latents
PIXEL_STEPS, PIXEL_RATE, NEAR_STEPS, NEAR_RATE = 60, 0.02, 40, 0.005


def best(work: Callable[[], object]) -> float:
    """Milliseconds of the best of several runs."""
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        times.append(1000 * (time.process_time() - began))
    return min(times)


def costs(model: DiffusionModel, models: dict[str, GuideModels]) -> None:
    """CPU time of an evaluation with and without a guide; waits for other work do not count."""
    x = torch.randn(ROWS, *model.shape(*model.size), generator=torch.Generator().manual_seed(1))
    denoise = model.denoiser(None if model.reader is None else model.reader.read([""]))

    def timed(function: Callable[..., torch.Tensor]) -> float:
        def work() -> None:
            with torch.inference_mode():
                function(x, 1.0)

        work()
        return best(work)

    plain = timed(denoise)
    print(f"| an evaluation of {ROWS} rows | ms | denoiser evaluations more |\n|---|---|---|")
    print(f"| unguided | {plain:.1f} | |")
    for name, source in models.items():
        log_prob, clean, _ = source.each([CLASSES[0]])
        guided = timed(guided_by(denoise, [source.term(name, log_prob, 1.0, clean)]))
        print(f"| {name} | {guided:.1f} | {guided / plain - 1:.2f} |")


def inversions(model: DiffusionModel, count: int) -> None:
    """Images to their noise and back."""
    real = open_scenes("pictures", WORLD, count, model.size[0], Silent())
    sampled = draw(model, (), count)
    sets = {"rendered": real.rows(np.arange(count))["picture"], "drawn": sampled}
    sigmas = noise_levels(model.noise, 50, "karras")
    denoise = model.denoiser(None if model.reader is None else model.reader.read([""]))
    print("\n| DDIM inversion and back, 50 steps | PSNR, dB | autoencoder alone | latents alone |")
    print("|---|---|---|---|")
    for name, images in sets.items():
        for refinements in (0, 3):
            with torch.no_grad():
                clean = encode(model, images)
                noise = invert_ddim(denoise, clean, sigmas, refinements=refinements)
                back = sample_ddim(denoise, noise, sigmas)
            again, alone = (stretch(decode(model, z), model.size) for z in (back, clean))
            figures = (psnr(again, images), psnr(alone, images), psnr(again, alone))
            shown = " | ".join(f"{figure.mean():.1f}" for figure in figures)
            print(f"| {name}, {refinements} refinements | {shown} |")


def draw(model: DiffusionModel, terms: tuple[Term, ...], count: int) -> ImageBatch:
    plan = Plan(
        texts=None if model.reader is None else model.reader.read([""]),
        away=None,
        guidance=Guidance(1.0),
        sampler="dpmpp_2m",
        eta=0.0,
        sigmas=noise_levels(model.noise, 25, "karras"),
        shape=model.shape(*model.size),
        seed=SEED,
        pull=GradientGuide(terms).apply,
    )
    return stretch(decode(model, sample_batch(model, plan, range(count))), model.size)


def strawmen(
    model: DiffusionModel, models: GuideModels, label: str, count: int
) -> dict[str, ImageBatch]:
    """Gradient descent to a class on latents, on gray pixels, and on a real image's pixels."""
    log_prob, _, _ = models.each([label])
    least = float(model.noise.sigmas[0])
    generator = torch.Generator().manual_seed(SEED)
    latents = torch.randn(count, *model.shape(*model.size), generator=generator)
    width, height = model.size
    grey = (0.5 + 0.1 * torch.randn(count, 3, height, width, generator=generator)).clamp(0, 1)
    rows = open_scenes("pictures", WORLD, count, width, Silent()).rows(np.arange(count))
    real = torch.from_numpy(rows["picture"].copy()).permute(0, 3, 1, 2).float() / 255

    def of_latents(z: torch.Tensor) -> torch.Tensor:
        return -log_prob(z, least)

    def of_pixels(values: torch.Tensor) -> torch.Tensor:
        return of_latents(model.space.encode(values))

    box = (0.0, 1.0)
    moved = descend(latents, of_latents, STEPS, RATE)
    return {
        "latent": stretch(decode(model, moved), model.size),
        "pixel": to_bytes(descend(grey, of_pixels, PIXEL_STEPS, PIXEL_RATE, bounds=box)),
        "a real image's pixels": to_bytes(
            descend(real, of_pixels, NEAR_STEPS, NEAR_RATE, bounds=box)
        ),
    }


def to_bytes(values: torch.Tensor) -> ImageBatch:
    return (values * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def verdicts(model: DiffusionModel, models: GuideModels, guides: GuideModels, count: int) -> None:
    """AUC of the strangeness, and how often each verdict is given.

    Args:
        model: the diffusion model.
        models: of the baselines, plain.
        guides: what guides.
        count: images of each class and way.
    """
    realism_check = open_realism_check(model, None, Silent())
    found: dict[str, list] = {}
    for label in CLASSES:
        term = guides.term("the guide", guides.each([label])[0], SCALE, clean=False)
        sets = {"guided": draw(model, (term,), count), **strawmen(model, models, label, count)}
        for name, images in sets.items():
            chances = chances_of(models, label, images)
            names = [name] * len(images)
            found.setdefault(name, []).extend(realism_check.testify(names, images, label, chances))
    print(f"\n| {len(CLASSES)} classes, {count} each | AUC | judge fooled | AUC of these |", end="")
    print(" guide sure | above the limit |\n|---|---|---|---|---|---|")
    guided = [verdict.strangeness for verdict in found["guided"]]
    for name, entries in found.items():
        fooled = [entry for entry in entries if reading(entry, "judge") == 1]
        sure = np.mean([reading(entry, "guide") >= 0.5 for entry in entries])
        above = np.mean([entry.strangeness > LIMIT for entry in entries])
        cells = ["", f"{len(fooled)} of {len(entries)}", ""]
        if name != "guided":
            cells[0] = f"{auc(guided, entries):.3f}"
            cells[2] = f"{auc(guided, fooled):.3f}" if fooled else "-"
        print(f"| {name} | {' | '.join(cells)} | {sure:.2f} | {above:.2f} |")


def reading(verdict, name: str) -> float:
    return next(check.reading for check in verdict.witnesses if check.name == name)


def auc(guided: list[float], entries: list) -> float:
    unusual = [entry.strangeness for entry in entries]
    truth = [0] * len(guided) + [1] * len(unusual)
    return float(roc_auc_score(truth, guided + unusual))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: images are made here")
    parser.add_argument("--count", type=int, default=12, help="images of each class and way")
    options = parser.parse_args()
    model = load_diffusion("builtin/blocks")
    noise_aware, clean, clean_plain = (
        GuideModels(Settings(name, (), "", plain=plain), model)
        for name, plain in (
            (DEFAULT_GUIDE, False),
            ("builtin/blocks-clip", False),
            ("builtin/blocks-clip", True),
        )
    )
    costs(
        model,
        {
            "noise-aware classifier": noise_aware,
            "clean classifier through x0": clean,
            "clean classifier through x0, plain": clean_plain,
        },
    )
    inversions(model, options.count)
    strawman = GuideModels(Settings(DEFAULT_GUIDE, (), ""), model)
    verdicts(model, strawman, noise_aware, options.count)


if __name__ == "__main__":
    main()

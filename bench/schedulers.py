"""Every scheduler of diffusers beside diffusers' own pipeline: the largest difference of an image.

Same tiny weights, noise and random numbers; `--sampler model` on this side. A combination is a
prediction, a spacing of the steps, a kind of noise levels, and whether noise ends at no signal.
A scheduler that does not fit `denoise(x, sigma)` is refused by name.
"""

import argparse
import inspect
import itertools
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from tests.pipelines import SCHEDULER, write_text_pipeline

from graftwerk.diffusion.noise_schedule import SCHEDULERS, final, initial, noise_levels, read_noise
from graftwerk.diffusion.pipeline import DiffusionModel, load_diffusion
from graftwerk.diffusion.samplers import find_sampler
from graftwerk.errors import GraftError

PIPELINE, PROMPT, STEPS, SEED = "StableDiffusionPipeline", "a red cube", 6, 3
# Options that a class may take, and the values that are tried.
_VARIED: Mapping[str, tuple[Any, ...]] = {
    "prediction_type": ("epsilon", "v_prediction", "sample"),
    "timestep_spacing": ("leading", "trailing", "linspace"),
    "rescale_betas_zero_snr": (False, True),
}
_SPACED = ("karras_sigmas", "exponential_sigmas", "beta_sigmas", "lu_lambdas")


def names() -> list[str]:
    """Every scheduler that diffusers has."""
    found = {n for n in dir(diffusers) if n.endswith("Scheduler") and not n.startswith("Flax")}
    return sorted(found, key=lambda name: (name not in SCHEDULERS, name))


def combinations(name: str) -> Iterator[dict[str, Any]]:
    """The configurations of a scheduler that are tried."""
    taken = inspect.signature(getattr(diffusers, name).__init__).parameters
    varied = [[(key, v) for v in values] for key, values in _VARIED.items() if key in taken]
    spaced = [f"use_{kind}" for kind in _SPACED if f"use_{kind}" in taken]
    for chosen in itertools.product(["", *spaced], *varied):
        extra = {chosen[0]: True} if chosen[0] else {}
        yield {"_class_name": name, **dict(chosen[1:]), **extra}


class Pair:
    """A tiny pipeline, loaded here and by diffusers."""

    def __init__(self, folder: Path) -> None:
        self.model: DiffusionModel = load_diffusion(str(folder), "cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._peer = diffusers.StableDiffusionPipeline.from_pretrained(folder)
        assert self.model.reader is not None
        self._texts = self.model.reader.read([PROMPT])
        self.noise = torch.randn(
            1, self.model.channels, 8, 8, generator=torch.Generator().manual_seed(SEED)
        )

    def theirs(self, config: Mapping[str, Any]) -> torch.Tensor:
        """Levels of gray of diffusers' image."""
        made = getattr(diffusers, str(config["_class_name"])).from_config(SCHEDULER | config)
        pipe = diffusers.StableDiffusionPipeline(
            **(self._peer.components | {"scheduler": made}), requires_safety_checker=False
        )
        pipe.set_progress_bar_config(disable=True)
        found = pipe(
            PROMPT, num_inference_steps=STEPS, guidance_scale=1.0, latents=self.noise,
            height=16, width=16, generator=torch.Generator().manual_seed(SEED), output_type="pt",
        )  # fmt: skip
        return (found.images * 255).round()

    def ours(self, config: Mapping[str, Any]) -> torch.Tensor:
        """Levels of gray of our image."""
        noise = read_noise(SCHEDULER | config, Path("scheduler_config.json"), PIPELINE)
        model = replace(self.model, noise=noise)
        sigmas = noise_levels(noise, STEPS, "model", "model")
        generator = torch.Generator().manual_seed(SEED)
        sampler = find_sampler("model", generator, noise=noise, steps=STEPS)
        x = sampler(model.denoiser(self._texts), initial(self.noise, sigmas[0]), sigmas)
        return (model.decode(final(x, sigmas[-1])) * 255).round()

    @torch.inference_mode()
    def compare(self, config: Mapping[str, Any]) -> float | str:
        """The largest difference in levels of 255; or why there is none to compare."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ours = self.ours(config)
            except GraftError as error:
                ours, reason = None, f"refused: {error}"
            try:
                theirs = self.theirs(config)
            except Exception as error:
                return reason if ours is None else f"diffusers fails: {type(error).__name__}"
            if ours is None:
                return reason
        if not bool(torch.isfinite(theirs).all()):
            return "diffusers: not finite"
        return float((ours - theirs).abs().max())


def row(pair: Pair, name: str) -> list[str]:
    """Name, combinations within 1 of 255, the largest difference, and what was not compared."""
    if name not in SCHEDULERS:
        found = [pair.compare({"_class_name": name})]
    else:
        found = [pair.compare(config) for config in combinations(name)]
    figures = [value for value in found if not isinstance(value, str)]
    reasons = Counter(value.partition(";")[0][:70] for value in found if isinstance(value, str))
    near = sum(value <= 1 for value in figures)
    largest = f"{max(figures):.0f}" if figures else "-"
    return [
        name,
        f"{near} of {len(figures)}",
        largest,
        "; ".join(f"{n} {why}" if n > 1 else why for why, n in reasons.items()),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: the weights are random")
    parser.add_argument("--only", nargs="*", help="classes; default: all of diffusers")
    options = parser.parse_args()
    print(f"{STEPS} steps, diffusers {diffusers.__version__}, largest difference of 255\n")
    print(f"{'scheduler':36}{'within 1':>12}{'largest':>9}  not compared")
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(write_text_pipeline(Path(folder)))
        for name in options.only or names():
            cells = row(pair, name)
            print(f"{cells[0]:36}{cells[1]:>12}{cells[2]:>9}  {cells[3]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

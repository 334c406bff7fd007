"""Diffusion transformers beside diffusers' own pipelines: the largest difference of a latent.

Same tiny weights and noise; `Pipeline.generate` with the model's own sampler on this side.
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from tests.pipelines import write_dit_pipeline, write_flux_pipeline, write_sd3_pipeline

import graftwerk as gw
from graftwerk.diffusion.sampling import row_generators

PROMPT, STEPS, SEED, COUNT = "a red cube", 6, 3, 2


@dataclass(frozen=True)
class Case:
    """One pipeline: how it is written, and what it is asked for.

    Attributes:
        name: in the table.
        write: writes the folder.
        options: of its scheduler, or of the writer.
        asked: options of `Pipeline.generate`.
        peer: the same for diffusers' pipeline, beside `guidance_scale`.
    """

    name: str
    write: Callable[..., Path]
    options: Mapping[str, Any] = field(default_factory=dict)
    asked: Mapping[str, Any] = field(default_factory=dict)
    peer: Mapping[str, Any] = field(default_factory=dict)


def _sd3(name: str, **options: Any) -> Case:
    return Case(f"SD3, {name}", write_sd3_pipeline, options)


def _dit(name: str, cfg: float, scheduler: Any = None, prompt: str = "sphere") -> Case:
    return Case(
        f"DiT, {name}", write_dit_pipeline, {"scheduler": scheduler}, {"cfg": cfg, "prompt": prompt}
    )


_DYNAMIC = {"use_dynamic_shifting": True, "base_image_seq_len": 4, "max_image_seq_len": 64}
_T5 = ("text_encoder_3", "tokenizer_3")
_NEGATIVE = {"negative": "a blue cone"}
CASES = (
    Case("SD3, guidance 5", write_sd3_pipeline),
    Case("SD3, guidance 1", write_sd3_pipeline, asked={"cfg": 1.0}),
    Case(
        "SD3, negative prompt",
        write_sd3_pipeline,
        asked=_NEGATIVE,
        peer={"negative_prompt": _NEGATIVE["negative"]},
    ),
    _sd3("without T5", t5=False),
    _sd3("shift 1", shift=1.0),
    _sd3("Karras levels", use_karras_sigmas=True),
    _sd3("exponential levels", use_exponential_sigmas=True),
    _sd3("beta levels", use_beta_sigmas=True),
    _sd3("dynamic shift", **_DYNAMIC),
    _sd3("dynamic shift, linear", **_DYNAMIC, time_shift_type="linear"),
    _sd3("shift_terminal .1", shift_terminal=0.1),
    Case(
        "SD3, 24 x 32 pixels, dynamic",
        write_sd3_pipeline,
        _DYNAMIC,
        {"width": 32, "height": 24},
        {"width": 32, "height": 24},
    ),
    Case("Flux, distilled guidance 3.5", write_flux_pipeline, asked={"cfg": None}),
    Case("Flux, distilled guidance 7", write_flux_pipeline, asked={"cfg": 7.0}),
    Case("Flux, static shift", write_flux_pipeline, {"use_dynamic_shifting": False}),
    Case("Flux, no guidance input", write_flux_pipeline, {"distilled": False}, {"cfg": None}),
    Case(
        "Flux, true guidance 4",
        write_flux_pipeline,
        {"distilled": False},
        {"cfg": 4.0, **_NEGATIVE},
        {"true_cfg_scale": 4.0, "negative_prompt": _NEGATIVE["negative"]},
    ),
    _dit("DDIM, guidance 4", 4.0),
    _dit("guidance 1", 1.0, prompt="block"),
    _dit("DPM-Solver++", 4.0, diffusers.DPMSolverMultistepScheduler(beta_end=0.005), prompt="7"),
)


def theirs(folder: Path, case: Case, noise: torch.Tensor) -> torch.Tensor:
    """Latents of diffusers' pipeline."""
    missing = {} if case.options.get("t5", True) else dict.fromkeys(_T5)
    pipe: Any = diffusers.DiffusionPipeline.from_pretrained(folder, **missing)
    pipe.set_progress_bar_config(disable=True)
    asked = {"num_inference_steps": STEPS, "guidance_scale": case.asked.get("cfg", 5.0)}
    if "prompt" in case.asked:
        return _of_classes(pipe, case.asked["prompt"], asked)
    if case.write is write_flux_pipeline:
        asked |= {"width": 16, "height": 16}
        if asked["guidance_scale"] is None:
            del asked["guidance_scale"]
        noise = pipe._pack_latents(noise, *noise.shape)
    latents: torch.Tensor = pipe(
        PROMPT, latents=noise, num_images_per_prompt=COUNT, output_type="latent", **asked,
        **case.peer,
    ).images  # fmt: skip
    if case.write is write_flux_pipeline:
        return torch.as_tensor(pipe._unpack_latents(latents, 16, 16, pipe.vae_scale_factor))
    return latents


def _of_classes(pipe: Any, prompt: str, asked: Mapping[str, Any]) -> torch.Tensor:
    """Latents of a DiT, whose pipeline neither takes nor returns any."""
    seen: list[torch.Tensor] = []
    decode = pipe.vae.decode
    pipe.vae.decode = lambda latents: (seen.append(latents), decode(latents))[1]
    number = int(prompt) if prompt.isdecimal() else pipe.get_label_ids([prompt])[0]
    pipe([number] * COUNT, generator=row_generators(SEED, range(COUNT)), **asked)
    return seen[0] * pipe.vae.config.scaling_factor


def compare(case: Case, folder: Path, sampler: str = "model") -> tuple[float, float]:
    """The largest difference of a latent, and the largest latent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case.write(folder, **case.options)
        pipe = gw.Pipeline(folder, device="cpu")
        flux = case.write is write_flux_pipeline
        size = {"width": 16, "height": 16} if flux else {}
        asked = {"prompt": PROMPT, "cfg": 5.0, "schedule": "model", **size, **case.asked}
        if not pipe.steered.frozen.noise.flows:
            sampler = "model"
        ours = pipe.generate(n=COUNT, seed=SEED, steps=STEPS, sampler=sampler, **asked).latents
        width, height = (asked.get(side) for side in ("width", "height"))
        noise = pipe.noise(COUNT, seed=SEED, width=width, height=height)
        peer = theirs(folder, case, noise)
        return float((ours - peer).abs().max()), float(peer.abs().max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="not used: the weights are random")
    parser.parse_args()
    print(f"{STEPS} steps, {COUNT} images, diffusers {diffusers.__version__}\n")
    print(f"{'pipeline':34}{'largest difference':>20}{'largest latent':>16}")
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found, largest = compare(case, Path(folder))
            print(f"{case.name:34}{found:20.1e}{largest:16.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One side of the comparison of training steps, in a process of its own.

`python -m bench.control_training ours|theirs` prints the median CPU seconds of a step, the peak
memory in MiB, and the CPU seconds before the first step. Theirs is the loop of diffusers'
`examples/controlnet/train_controlnet.py`, written again without accelerate: encode the images,
draw noise and times, read the prompts, run branch and U-Net, and step AdamW.
"""

import argparse
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from graftwerk.blocks.captions import say
from graftwerk.blocks.scene import SIDE
from graftwerk.conditions.kinds import condition_named
from graftwerk.models.hub import builtin_folder
from graftwerk.recipes.registry import TRAINING_WORLD
from graftwerk.recipes.scenes import facts_of_row, open_scenes
from graftwerk.training.session import Precision
from graftwerk.types import Silent

SCENES, RATE, WARM = 256, 1e-3, 3
Step = Callable[[int], None]


def scenes() -> np.ndarray:
    return open_scenes("maps", TRAINING_WORLD, SCENES, SIDE, Silent()).rows(np.arange(SCENES))


def theirs(batch: int, precision: Precision) -> Step:
    from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    folder = builtin_folder("builtin/blocks")
    vae: Any = AutoencoderKL.from_pretrained(folder, subfolder="vae").float()
    unet: Any = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").float()
    reader: Any = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder").float()
    words = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer")
    noises: Any = DDPMScheduler.from_pretrained(folder, subfolder="scheduler")
    make: Any = ControlNetModel
    controlnet = make.from_unet(unet, conditioning_embedding_out_channels=(16, 32, 96, 256))
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    for part in (vae, unet, reader):  # the script casts what is frozen, and autocasts the branch
        part.requires_grad_(False).to(kind)
    optimizer = torch.optim.AdamW(controlnet.parameters(), lr=RATE, weight_decay=0.01)
    rows = scenes()
    images = torch.from_numpy(rows["picture"].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    maps = condition_named("depth").from_rows(rows)
    maps = torch.from_numpy(maps.copy()).permute(0, 3, 1, 2).float() / 255
    tokens = words(
        [say(facts_of_row(row)) for row in rows],
        max_length=words.model_max_length,
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    ).input_ids

    def step(number: int) -> None:
        chosen = torch.arange(number * batch, (number + 1) * batch) % SCENES
        with torch.no_grad():
            code = vae.encode(images[chosen].to(kind)).latent_dist
            latents = code.sample() * vae.config.scaling_factor
        noise = torch.randn_like(latents)
        times = torch.randint(0, noises.config.num_train_timesteps, (batch,))
        noisy = noises.add_noise(latents.float(), noise.float(), times).to(kind)
        with torch.no_grad():
            states = reader(tokens[chosen], return_dict=False)[0]
        with torch.autocast("cpu", torch.bfloat16, kind != torch.float32):
            skips, middle = controlnet(
                noisy, times, states, maps[chosen].to(kind), return_dict=False
            )
        predicted = unet(
            noisy,
            times,
            encoder_hidden_states=states,
            down_block_additional_residuals=[skip.to(kind) for skip in skips],
            mid_block_additional_residual=middle.to(kind),
            return_dict=False,
        )[0]
        requested = noise
        if noises.config.prediction_type == "v_prediction":
            requested = noises.get_velocity(latents, noise, times)
        functional.mse_loss(predicted.float(), requested.float()).backward()
        torch.nn.utils.clip_grad_norm_(controlnet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def ours(batch: int, precision: Precision, location: Path) -> Step:
    from PIL import Image

    from graftwerk.controlnet.branch import Shape, make_branch
    from graftwerk.controlnet.pairs import PairSource, store_pairs
    from graftwerk.controlnet.task import ControlTask
    from graftwerk.diffusion.pipeline import load_diffusion
    from graftwerk.training.session import Plan
    from graftwerk.training.state import arithmetic, begin, generator_for

    model, condition, rows = (
        load_diffusion("builtin/blocks", "cpu"),
        condition_named("depth"),
        scenes(),
    )
    raw = PairSource(
        [Image.fromarray(image) for image in rows["picture"]],
        [say(facts_of_row(row)) for row in rows],
        [Image.fromarray(sampled) for sampled in condition.from_rows(rows)],
        None,
        "depth",
    )
    pairs = store_pairs(raw, model, location, Silent())
    branch = make_branch(model.unet, Shape(model.factor), generator_for(0, 0, "cpu"))
    plan = Plan(steps=1000, batch=batch, learning_rate=RATE, warm_up=1)
    task = ControlTask(model, branch, pairs, 0)
    state = begin(task.parameters(), plan, {})

    def step(number: int) -> None:
        state.optimizer.zero_grad(set_to_none=True)
        generator = generator_for(0, number, "cpu")
        with arithmetic("cpu", precision):
            loss, _ = task.loss(task.batch(number * batch, batch), generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(state.parameters.values()), plan.clip_norm)
        state.optimizer.step()
        state.advance_average(plan.average_decay)
        state.step += 1

    return step


def peak_memory() -> float:
    """Of this program, in MiB; what `getrusage` says may be that of the process that began it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=("ours", "theirs"))
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        mine = options.side == "ours"
        given = options.batch, options.precision
        step = ours(*given, Path(name)) if mine else theirs(*given)
        before, times = time.process_time(), []
        for number in range(WARM + options.steps):
            began = time.process_time()
            step(number)
            times.append(time.process_time() - began)
    peak = peak_memory()
    print(f"{np.median(times[WARM:]):.4f} {peak:.1f} {before:.2f}")


if __name__ == "__main__":
    main()

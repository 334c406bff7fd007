"""LoRA for diffusion models: a style or a subject from a few captioned images."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from ..adapters.lora import LowRank, install
from ..data.image_folder import CaptionedImages, read_captioned
from ..diffusion.pipeline import DiffusionModel, load_diffusion
from ..diffusion.prompts import TextStates, join
from ..diffusion.sampling import fit, to_values
from ..training.session import Session
from ..training.state import Loss, fast_precision, generator_for
from ..types import Monitor
from .lora_training import LoraJob, LoraTraining, claim, require_free, save_trained, teach

_DRAWS = 256  # samples of held-out noise, divided among the images
_BATCH = 16
_MEASURED = 2**62  # seed of the held-out noise, not used by any training step


class ImageTask:
    """Denoising of captioned images; see `training.session.Task`.

    The loss is the mean squared error of what the network itself predicts: noise, `v` or image.
    """

    def __init__(
        self,
        model: DiffusionModel,
        latents: Float[Tensor, "n c h w"],
        texts: TextStates | None,
        steer: LowRank,
    ) -> None:
        self._model, self._latents, self._texts, self._steer = model, latents, texts, steer
        self._sigmas = torch.from_numpy(model.noise.sigmas).float().to(model.device)

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """Return the parameters of the adapter."""
        return self._steer.parameters()

    def batch(self, first: int, count: int) -> Int64[Tensor, " b"]:
        """Return the next image indices in cyclic order; only the noise is random."""
        return torch.arange(first, first + count) % len(self._latents)

    def loss(self, batch: Int64[Tensor, " b"], generator: torch.Generator) -> Loss:
        """Return the mean error at noise levels sampled uniformly from the model's own."""
        self._steer.drop_with(generator)
        times = torch.randint(
            len(self._sigmas), batch.shape, generator=generator, device=self._model.device
        )
        losses = self._losses(batch, times, generator)
        self._steer.drop_with(None)
        return losses.mean(), {}

    def measure(self) -> Float64[np.ndarray, " n"]:
        """Return the errors of all images, with the same noise in every call."""
        count = len(self._latents)
        draws = max(_DRAWS // count, 2)
        numbers = torch.arange(count).repeat_interleave(draws)
        # every image at noise levels from low to high
        steps = (torch.arange(draws) + 0.5) / draws * len(self._sigmas)
        times = steps.long().repeat(count).to(self._model.device)
        found = []
        with torch.no_grad():
            for start in range(0, len(numbers), _BATCH):
                generator = generator_for(_MEASURED, start, self._model.device)
                part = slice(start, start + _BATCH)
                found.append(self._losses(numbers[part], times[part], generator))
        return torch.cat(found).double().cpu().numpy()

    def _losses(
        self, numbers: Int64[Tensor, " b"], times: Int64[Tensor, " b"], generator: torch.Generator
    ) -> Float[Tensor, " b"]:
        where = numbers.to(self._model.device)
        clean = self._latents[where]
        sigma = self._sigmas[times]
        noise = torch.randn(clean.shape, generator=generator, device=clean.device)
        texts = self._texts
        if texts is not None:
            pooled = None if texts.pooled is None else texts.pooled[where]
            texts = TextStates(texts.states[where], pooled, texts.scale)
        x = self._model.noise.mixed(clean, noise, sigma.view(-1, 1, 1, 1))
        found = self._model.denoiser(texts)(x, sigma)
        errors = (found.float() - clean).square().mean(dim=(1, 2, 3))
        return errors * self._model.noise.error_weight(sigma)


def train_on_images(job: LoraJob, monitor: Monitor) -> tuple[LoraTraining, CaptionedImages, int]:
    """Train, measure and save; return the result, the images, and the folder's size in bytes."""
    out = job.out.absolute()
    require_free(out, job.data, job.model)
    shown = read_captioned(job.data, job.caption)
    for note in shown.notes:
        monitor.note(note)
    monitor.start("loading the model")
    model = load_diffusion(job.model, job.device)
    base = model.denoiser_fingerprint
    steer = install(model.unet, job.rank, generator_for(job.seed, 0, "cpu"), base)
    latents, texts = _prepare(model, shown, monitor)
    task = ImageTask(model, latents, texts, steer)
    configuration = _configuration(job, model, latents, shown)
    session = Session(out, configuration, job.seed, precision=fast_precision(model.device))
    claim(out)
    trained = teach(task, job.plan, session, steer, task.measure, monitor)
    content = {
        "task": "generate",
        "settings": configuration,
        "steps": trained.outcome.step,
        "metrics": asdict(trained.change),
        "captions": sorted(set(shown.captions)),
    }
    return trained, shown, save_trained(out, steer, job.model, content, model.trunk)


def _prepare(
    model: DiffusionModel, shown: CaptionedImages, monitor: Monitor
) -> tuple[Float[Tensor, "n c h w"], TextStates | None]:
    monitor.start("encoding images", len(shown.pictures))
    squares = to_values(np.stack([fit(one, *model.size) for one in shown.pictures]))
    if model.decoder is None and model.channels == 1:
        squares = squares.mean(dim=1, keepdim=True)
    rows: list[Tensor] = []
    texts: TextStates | None = None
    for start in range(0, len(squares), _BATCH):
        part = slice(start, start + _BATCH)
        with torch.no_grad():
            rows.append(model.space.encode(squares[part].to(model.device)))
        if model.reader is not None:
            states = model.reader.read(shown.captions[part])
            texts = states if texts is None else join(texts, states)
        monitor.advance(len(rows[-1]))
    return torch.cat(rows), texts


def _configuration(
    job: LoraJob, model: DiffusionModel, latents: Float[Tensor, "n c h w"], shown: CaptionedImages
) -> dict[str, Any]:
    digest = hashlib.sha256(latents.cpu().numpy().tobytes())
    digest.update("\0".join(shown.captions).encode())
    return {
        "task": "generate",
        "base": model.fingerprint,
        "data": digest.hexdigest(),
        "pictures": len(shown.pictures),
        "rank": asdict(job.rank),
        "plan": asdict(job.plan),
        "seed": job.seed,
    }

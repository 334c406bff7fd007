"""PI0 of transformers: chunks of actions from images, a state and an instruction.

Black et al., "pi0: A vision-language-action flow model for general robot control", 2024. The
network is transformers' own; images (resized by Pillow), states and instructions are prepared as
its processor does, which requires torchvision. Nothing is trained here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from ..errors import BadFile, BadInput
from ..models.checkpoint import fingerprint, open_folder, read_object
from ..models.hub import loading
from ..models.language.local import load_tokenizer
from ..models.transformers import choose_device, load_network

MODEL_TYPE = "pi0"
_ABOUT = "PI0 of transformers, a vision-language-action model"
_STATISTICS = ("state_mean", "state_std", "actions_mean", "actions_std")
_BATCH, _MOST = 8, 256  # observations at a time; tokens of an instruction

Camera = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True, slots=True, eq=False)
class Pi0Model:
    """A loaded PI0.

    Attributes:
        statistics: means and deviations of states and actions; without, both are in the network's
            units.
    """

    name: str
    fingerprint: str
    network: Any
    tokenizer: Any
    statistics: dict[str, Float32[np.ndarray, " d"]]
    device: str

    def describe(self) -> dict[str, str]:
        """Return what it is, for `graft models info`."""
        config, side = self.network.config, self._vision.image_size
        return {
            "about": f"{_ABOUT}; predicts, is not fitted here",
            "actions": f"chunks of {config.chunk_size:,}, of at most {config.max_action_dim} "
            f"numbers, in {config.num_inference_steps} steps",
            "images": f"{side} x {side} pixels, any number of cameras",
        }

    def refuse(self, what: str) -> BadInput:
        """Return the error for what this policy cannot do here."""
        return BadInput(
            f"{self.name} is {_ABOUT}, which {what}.",
            "It predicts: gw.Policy(FOLDER).predict(images, states, prompt=...).",
        )

    def act(
        self, images: Sequence[Sequence[Camera]], states: Any, prompt: str, noise: Any, seed: int
    ) -> Float32[np.ndarray, "n c a"]:
        """Return a chunk of actions for each observation.

        Args:
            images: for each observation, the images of its cameras.
            states: of the robot, [n s].
            prompt: the instruction.
            noise: what the chunks are made from, [n c a]; None for random noise.
            seed: of that noise.

        Raises:
            BadInput: something does not fit.
        """
        config, count = self.network.config, len(images)
        cameras = {len(one) for one in images}
        if len(cameras) != 1 or 0 in cameras:
            given = f"the observations have {sorted(cameras)} images."
            raise BadInput(given, "Pass the same number of cameras in each.")
        state = self._states(states, count)
        shape = (count, config.chunk_size, config.max_action_dim)
        if noise is None:
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        start = torch.as_tensor(np.asarray(noise), dtype=torch.float32)
        if tuple(start.shape) != shape or not bool(start.isfinite().all()):
            raise BadInput(f"noise of the shape {list(start.shape)}.", f"Pass {list(shape)}.")
        ids = self._tokens(prompt, cameras.pop())
        pixels = torch.stack([torch.stack([self._pixels(one) for one in seen]) for seen in images])
        found = []
        for at in range(0, count, _BATCH):
            part = slice(at, at + _BATCH)
            prompts = ids.expand(len(state[part]), -1)
            inputs = {
                "state": state[part],
                "input_ids": prompts,
                "attention_mask": torch.ones_like(prompts),
                "pixel_values": pixels[part],
                "pixel_attention_mask": torch.ones(pixels[part].shape[:2], dtype=torch.bool),
                "noise": start[part],
            }
            moved = {name: value.to(self.device) for name, value in inputs.items()}
            with torch.inference_mode():
                found.append(self.network.sample_actions(**moved).float().cpu())
        return self._actions(torch.cat(found).numpy())

    @property
    def _vision(self) -> Any:
        return self.network.config.vlm_config.vision_config

    def _states(self, states: Any, count: int) -> Float[torch.Tensor, "n s"]:
        rows, most = np.asarray(states, dtype=np.float32), self.network.config.max_state_dim
        mean = self.statistics.get("state_mean")
        size = most if mean is None else len(mean)
        fit = rows.ndim == 2 and len(rows) == count and rows.shape[1] <= size
        if not fit or (mean is not None and rows.shape[1] < size):
            raise BadInput(
                f"there are {count} observations, and states of the shape {list(rows.shape)}.",
                f"Pass one state of {size} numbers for each.",
            )
        if not np.isfinite(rows).all():
            raise BadInput("a state is not finite.", "Pass the robot's measured state.")
        if mean is not None:
            rows = (rows - mean) / (self.statistics["state_std"] + np.float32(1e-8))
        return torch.from_numpy(np.pad(rows, ((0, 0), (0, most - rows.shape[1]))))

    def _actions(self, found: Float32[np.ndarray, "n c a"]) -> Float32[np.ndarray, "n c b"]:
        if self.statistics:
            mean, deviation = self.statistics["actions_mean"], self.statistics["actions_std"]
            found = found[..., : len(mean)] * (deviation + np.float32(1e-8)) + mean
        return found

    def _tokens(self, prompt: str, cameras: int) -> torch.Tensor:
        text = f"{self.tokenizer.bos_token or ''}{prompt}\n"
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) > _MOST:
            raise BadInput(f"the prompt has {len(ids):,} tokens.", f"Write at most {_MOST}.")
        each = (self._vision.image_size // self._vision.patch_size) ** 2
        image = self.network.config.vlm_config.image_token_id
        return torch.tensor([[image] * (each * cameras) + list(ids)])

    def _pixels(self, image: Camera) -> Float[torch.Tensor, "3 y x"]:
        """Fit an image into the network's square, with zeros at the right or below."""
        from PIL import Image

        side = self._vision.image_size
        height, width = image.shape[:2]
        share = min(side / height, side / width)
        size = (max(1, int(width * share)), max(1, int(height * share)))
        small = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
        values = torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 127.5 - 1
        return torch.nn.functional.pad(values, (0, side - size[0], 0, side - size[1]))


def load_pi0(name: str, path: Path, device: str) -> Pi0Model:
    """Load a PI0 and its tokenizer; its code is transformers' own.

    Raises:
        BadFile: weights, tokenizer or statistics are missing or malformed.
    """
    folder, where = open_folder(path), choose_device(device)
    with loading(name):
        network = load_network(folder, "PI0ForConditionalGeneration").to(where)
        tokenizer = load_tokenizer(name, folder)
    file = path / "processor_config.json"
    record = read_object(file) if file.is_file() else {}
    given = [record.get(key) for key in _STATISTICS]
    try:
        rows = [np.asarray(row, dtype=np.float32) for row in given if row is not None]
        fit = [row.shape for row in rows[::2]] == [row.shape for row in rows[1::2]]
        whole = len(rows) in {0, 4} and all(r.ndim == 1 and np.isfinite(r).all() for r in rows)
    except (ValueError, TypeError):
        fit = whole = False
    if not fit or not whole:
        raise BadFile(
            f"{file} does not hold {', '.join(_STATISTICS)} as lists of numbers that fit.",
            "Copy the whole folder again, or leave all four out.",
        )
    statistics = dict(zip(_STATISTICS, rows, strict=False))
    return Pi0Model(name, fingerprint(path, {}), network, tokenizer, statistics, where)

"""A discrete-time U-Net as one function from a noisy picture to a clean one."""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from .halves import Inputs, Residuals, run_with
from .noise import Noise, Sigma
from .texts import TextStates


@runtime_checkable
@runtime_checkable
class Control(Protocol):
    """What is added between the halves of a U-Net at each evaluation."""

    def __call__(self, x: Tensor, times: Tensor, sigma: Sigma, inputs: Inputs) -> Residuals | None:
        """What is added; None: nothing.

        Args:
            x: noisy pictures as the U-Net takes them.
            times: as the U-Net takes them.
            sigma: noise level of all rows, or of each.
            inputs: states of the prompts, by the names of the library.
        """
        ...


class NetworkDenoiser:
    """`denoise(x, sigma) -> x0` of a U-Net; see `contracts.Denoiser`.

    Holds for prompts of a fixed number: a batch has the same number of rows for each of them, all
    rows of the first prompt before those of the second.
    """

    def __init__(
        self,
        network: Any,
        noise: Noise,
        texts: TextStates | None,
        *,
        factor: int = 1,
        keeps_prompts: bool = False,
        control: Control | None = None,
    ) -> None:
        """Bind a U-Net to prompts.

        Args:
            network: the U-Net; its weights stay as they are while this lives.
            noise: the noise that it was trained with.
            texts: states of the prompts; None for an unconditional model.
            factor: pixels to a side of one value of `x`.
            keeps_prompts: what `attention.keep_prompts` said of the U-Net.
            control: None: the U-Net alone.
        """
        self._network = network
        self._noise = noise
        self._texts = texts
        self._factor = factor
        self._keeps_prompts = keeps_prompts
        self._control = control
        self._rows: dict[torch.Size, dict[str, Any]] = {}

    def __call__(self, x: Float[Tensor, "b c h w"], sigma: Sigma) -> Float[Tensor, "b c h w"]:
        """The clean picture that the network expects behind `x`, at noise level `sigma`."""
        level = sigma.view(-1, 1, 1, 1) if isinstance(sigma, Tensor) else sigma
        times = self._noise.times_of(sigma, x).expand(len(x))
        scaled, inputs = x / (1 + level**2) ** 0.5, self._inputs(x)
        residuals = None
        if self._control is not None:
            residuals = self._control(scaled, times, sigma, inputs)
        output = run_with(self._network, scaled, times, inputs, residuals)
        return self._noise.x0_of(x, output[:, : x.shape[1]], level)  # further channels: variance

    def _inputs(self, x: Float[Tensor, "b c h w"]) -> dict[str, Any]:
        """What the U-Net takes of the prompts, made once for a batch of this shape."""
        if self._texts is None:
            return {}
        if x.shape not in self._rows:
            self._rows[x.shape] = self._new_inputs(self._texts, x)
        return self._rows[x.shape]

    def _new_inputs(self, texts: TextStates, x: Float[Tensor, "b c h w"]) -> dict[str, Any]:
        rows = len(x)
        if rows % len(texts):
            raise ValueError(f"{rows} rows for {len(texts)} prompts")
        each = rows // len(texts)
        inputs: dict[str, Any] = {
            "encoder_hidden_states": texts.states.repeat_interleave(each, dim=0)
        }
        if texts.pooled is not None:
            side = [x.shape[2] * self._factor, x.shape[3] * self._factor]
            # height and width of the training picture, its crop, the size wanted
            places = torch.tensor([*side, 0, 0, *side], dtype=x.dtype, device=x.device)
            inputs["added_cond_kwargs"] = {
                "text_embeds": texts.pooled.repeat_interleave(each, dim=0),
                "time_ids": places.expand(rows, -1),
            }
        if self._keeps_prompts:
            inputs["cross_attention_kwargs"] = {"prompt_keys": {}}
        return inputs

"""State of a training, weight initialization, and the choice of precision."""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import AdamW

from ..errors import Damaged
from .session import Plan, Precision


def fast_precision(device: str) -> Precision:
    """Return bfloat16 if the device multiplies it faster than float32, else float32.

    Measured on two cores of a Zen 5: 957 GFLOP/s against 226 for float32.
    """
    if device == "cpu":
        able = torch.cpu.get_capabilities()
        return "bfloat16" if able.get("avx512_bf16") or able.get("amx_bf16") else "float32"
    return "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported() else "float32"


@contextmanager
def arithmetic(device: str, precision: Precision) -> Iterator[None]:
    """Run the model in this precision within the context.

    On a CPU, attention uses plain matrix products: the backward pass of PyTorch's fused kernel took
    39 % of a U-Net's training step, and without it the step is 1.5 times as fast.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device, torch.bfloat16, precision == "bfloat16"))
        if device == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


_TABLE_DEVIATION = 0.02  # of embeddings and of free parameters, as in CLIP and GPT-2


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Initialize all weights again, from this generator instead of the global one.

    Linear layers and convolutions get uniform weights of variance 1 / (3 * inputs) and zero bias,
    embeddings and free vectors normal ones; norms and scalars do not change.
    """
    with torch.no_grad():
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                _draw(module, name, parameter, generator)


def _draw(
    module: nn.Module, name: str, parameter: nn.Parameter, generator: torch.Generator
) -> None:
    if isinstance(module, nn.GroupNorm | nn.LayerNorm) or parameter.ndim == 0:
        return
    if not isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        parameter.normal_(0.0, _TABLE_DEVIATION, generator=generator)
    elif name == "bias":
        parameter.zero_()
    else:
        bound = 1 / math.sqrt(parameter[0].numel())
        parameter.uniform_(-bound, bound, generator=generator)


Parts = Mapping[str, Mapping[str, Tensor]]


@dataclass
class State:
    """State of a training between two steps.

    Attributes:
        parameters: that are trained.
        average: their moving average.
        optimizer: AdamW with its moments.
        step: steps done, including skipped ones.
        skipped: number of skipped steps.
        skipped_in_row: number of consecutive skipped steps just before now.
        seconds: spent so far, over all sessions.
    """

    parameters: Mapping[str, nn.Parameter]
    average: dict[str, Tensor]
    optimizer: AdamW
    step: int = 0
    skipped: int = 0
    skipped_in_row: int = 0
    seconds: float = 0.0

    @property
    def device(self) -> str:
        """The device of the parameters."""
        return next(iter(self.parameters.values())).device.type

    def parts(self) -> Parts:
        """Return all tensors by checkpoint file."""
        moments = {
            f"{name}:{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self.optimizer.state[parameter].items()
        }
        weights = {name: parameter.detach() for name, parameter in self.parameters.items()}
        return {"parameters": weights, "average": self.average, "optimizer": moments}

    def restore(self, parts: Parts) -> None:
        """Load all tensors from a checkpoint.

        Raises:
            Damaged: the checkpoint has other parameters.
        """
        for kind, mine in (("parameters", self.parameters), ("average", self.average)):
            found = parts[kind]
            if {n: t.shape for n, t in found.items()} != {n: t.shape for n, t in mine.items()}:
                raise Damaged(
                    f"the checkpoint's {kind} are not those of this model.",
                    "Pass another --out folder to begin again.",
                )
            with torch.no_grad():
                for name, tensor in mine.items():
                    tensor.copy_(found[name])
        self.optimizer.state.clear()
        for key, value in parts["optimizer"].items():
            name, _, moment = key.rpartition(":")
            parameter = self.parameters[name]
            self.optimizer.state[parameter][moment] = value.to(parameter.device)

    def advance_average(self, decay: float) -> None:
        """Update the moving average; with less decay in the first steps."""
        share = 1 - min(decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            mine = [self.average[name] for name in self.parameters]
            torch._foreach_lerp_(mine, list(self.parameters.values()), share)


def begin(parameters: Mapping[str, nn.Parameter], plan: Plan, shares: Mapping[str, float]) -> State:
    """Return the state before the first step.

    Args:
        parameters: to train.
        plan: defines the weight decay.
        shares: learning-rate multipliers by parameter; default 1.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault((shares.get(name, 1.0), parameter.ndim < 2), []).append(parameter)
    optimizer = AdamW(
        [
            {"params": groups[key], "weight_decay": 0.0 if key[1] else plan.weight_decay,
             "share": key[0]}
            for key in sorted(groups)
        ],
        lr=plan.learning_rate,
        fused=True,
    )  # fmt: skip
    average = {name: p.detach().clone() for name, p in parameters.items()}
    return State(parameters, average, optimizer)


def generator_for(seed: int, number: int, device: str) -> torch.Generator:
    """Return a random generator that depends only on `seed` and `number`."""
    mixed = np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed >> np.uint64(1)))

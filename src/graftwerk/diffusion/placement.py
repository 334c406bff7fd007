"""Where the networks of a pipeline run: on the device, there only while they run, or compiled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ..errors import BadInput

_COMPILER = ("torch._dynamo", "torch._inductor")


class Placement:
    """Places the networks of one pipeline.

    With `offload` they stay in main memory, and each is moved to the device when it runs and back
    when the next one does, as by diffusers' `enable_model_cpu_offload`. While gradients are
    recorded, which need the weights again, those that ran stay there.

    Args:
        device: where they run.
        offload: whether they are there only while they run.
        compiled: whether the U-Net or transformer is compiled by `torch.compile`.
        move: moves a network; for tests.

    Raises:
        BadInput: they run in main memory anyway.
    """

    def __init__(
        self,
        device: str,
        *,
        offload: bool = False,
        compiled: bool = False,
        move: Callable[[nn.Module, str], object] = nn.Module.to,
    ) -> None:
        if offload and device == "cpu":
            raise BadInput(
                "the models run on the CPU, so there is nothing to offload to.",
                "Leave --offload out; it is for a GPU whose memory is too small.",
            )
        self.device, self._offload, self.compiled, self._move = device, offload, compiled, move
        self._roots: dict[nn.Module, nn.Module] = {}
        # no method: copies of a network keep it, and are found in `_roots` themselves
        self._hook: Any = lambda module, _: self._bring(module)
        if offload and compiled:
            self._hook = torch.compiler.disable(self._hook)  # type: ignore[no-untyped-call]
        self._present: list[nn.Module] = []

    def put(self, network: Any, *, is_trunk: bool = False, by_parts: bool = False) -> Any:
        """Place a network and return it.

        Args:
            network: to place.
            is_trunk: whether it is the U-Net or transformer.
            by_parts: whether its direct children are called, and not the network itself.
        """
        if self._offload:
            for module in network.children() if by_parts else (network,):
                self._roots[module] = network
                module.register_forward_pre_hook(self._hook)
        else:
            network.to(self.device)
        if is_trunk and self.compiled:
            network.compile()
        return network

    def _bring(self, module: nn.Module) -> None:
        network = self._roots.get(module)
        if network is None:
            return
        leaving = [] if torch.is_grad_enabled() else [n for n in self._present if n is not network]
        # tensors of inference mode could not take the place of the weights
        with torch.inference_mode(False), torch.no_grad():
            for other in leaving:
                self._present.remove(other)
                self._move(other, "cpu")
            if network not in self._present:
                self._present.append(network)
                self._move(network, self.device)


def is_compiled(network: Any) -> bool:
    """Whether `Placement` has compiled a network."""
    return getattr(network, "_compiled_call_impl", None) is not None


@contextmanager
def explained_compiler() -> Iterator[None]:
    """Explain the failure of a compiler.

    Raises:
        BadInput: the network cannot be compiled, mostly because there is no compiler.
    """
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(_COMPILER):
            raise
        reason = str(error).strip().partition("\n")[0]
        raise BadInput(
            f"the network cannot be compiled: {reason}",
            "torch.compile needs a C++ compiler (on a GPU: Triton); install it, or leave --compile "
            "out.",
        ) from error

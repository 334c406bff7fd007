"""Distributed training with torchrun."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that train together; by default only this one.

    Attributes:
        rank: index of this process; 0 writes the files.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def average(self, tensors: "Sequence[torch.Tensor]") -> None:
        """Replace each tensor by its mean over all processes."""
        if self.size == 1:
            return
        import torch
        from torch import distributed

        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.size
        sizes = [tensor.numel() for tensor in tensors]
        for tensor, mean in zip(tensors, torch.split(flat, sizes), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def any(self, flag: bool, device: str) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        import torch
        from torch import distributed

        votes = torch.tensor(float(flag), device=device)
        distributed.all_reduce(votes)
        return bool(votes.item() > 0)

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            from torch import distributed

            distributed.barrier()


ALONE = Group()


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """Join the group that torchrun started this process in; a group of one without torchrun.

    On CUDA each process uses the device of its local rank.

    Args:
        device: `cpu`, `cuda` or `mps`.
    """
    from torch import cuda, distributed

    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    if device == "cuda":
        cuda.set_device(distributed.get_node_local_rank())
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()

"""Full fine-tuning and LoRA through the one training loop, from the linear solution on."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import BadInput
from ..frozen.trainable import Trainable
from ..steer import lowrank
from ..steer.head import LinearHead
from ..steer.projections import named_targets
from ..train.arithmetic import arithmetic
from ..train.session import Precision
from ..train.state import generator_for
from .kept import KeptStates
from .losses import loss_of, weights_of
from .networks import inputs_of
from .problem import Problem
from .settings import Settings
from .split import Places

_WINDOW = 16  # batches among which texts of like length are put together
_LAYER_DECAY = 0.85  # of the learning rate, from each block to the one below it
_HEAD_SHARE = 10.0  # of the rate of the last block, in full fine-tuning
_EVALUATED = 64  # items at a time
HEAD = ("head.weight", "head.bias")


class Tuning:
    """A network with a head, to be trained on a problem; see `train.task.Task`.

    Attributes:
        settings: how it is tuned.
        trainable: the network, with a low-rank steer in it where that is the way.
        steer: that steer.
        kept: states below the blocks that are trained; None where all are.
        initial: what is trained, as it was at first.
    """

    def __init__(
        self, problem: Problem, trainable: Trainable, start: LinearHead, settings: Settings
    ) -> None:
        self._problem, self.settings = problem, settings
        self.trainable = trainable
        self.steer: lowrank.LowRank | None = None
        self.kept: KeptStates | None = None
        values = problem.targets.values
        self._middle, self._spread = 0.0, 1.0
        if problem.targets.task == "number":
            learned = values[problem.split.train]
            self._middle, self._spread = float(learned.mean()), float(learned.std()) or 1.0
            values = (values - self._middle) / self._spread
        self._values = torch.from_numpy(np.ascontiguousarray(values)).to(trainable.device)
        self._weights = weights_of(problem).to(trainable.device)
        weight = start.weight / self._spread
        bias = (start.bias - self._middle) / self._spread
        self._head = [
            nn.Parameter(torch.from_numpy(array.astype(np.float32)).to(trainable.device))
            for array in (weight, bias)
        ]
        if settings.top is not None:
            block = len(trainable.blocks()) - settings.top
            self.kept = KeptStates(problem, trainable, block)
        self._open_parameters()
        self.initial = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._lengths = [len(str(item)) for item in problem.examples.items]
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The head, and whatever of the network is trained and has a gradient."""
        return self._parameters

    def shares(self) -> dict[str, float]:
        """Shares of the learning rate: less from block to block towards the input, more for B."""
        if self.settings.how != "full":
            faster = [name for name in self._parameters if ".lora_B." in name]
            return dict.fromkeys(faster, self.settings.lora_plus)
        blocks = list(self.trainable.blocks())
        depth = {
            id(parameter): len(blocks) - 1 - number
            for number, block in enumerate(blocks)
            for parameter in block.parameters()
        }
        shares = {}
        seen_block = False
        for name, parameter in self._parameters.items():
            if name in HEAD:
                shares[name] = _HEAD_SHARE
                continue
            below = depth.get(id(parameter), None if seen_block else len(blocks))
            seen_block = seen_block or id(parameter) in depth
            shares[name] = _LAYER_DECAY ** (below or 0)
        return shares

    @contextmanager
    def merged(self) -> Iterator[None]:
        """A low-rank steer is part of the weights, as it will predict, for the time of this."""
        if self.steer is not None:
            self.steer.merge()
        try:
            yield
        finally:
            if self.steer is not None:
                self.steer.unmerge()

    @contextmanager
    def running(self) -> Iterator[None]:
        """States that are kept take the place of the blocks below, for the time of this."""
        if self.kept is None:
            yield
        else:
            with self.kept.below.skipped():
                yield

    def batch(self, first: int, count: int) -> tuple[Any, list[int]]:
        """Inputs of examples `first` to `first + count` of endless epochs, and their places."""
        train = self._problem.split.train
        places = []
        for number in range(first, first + count):
            epoch, place = divmod(number, len(train))
            places.append(int(self._order(epoch)[place]))
        return self._inputs(places), places

    def loss(
        self, batch: tuple[Any, list[int]], generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The mean loss of a batch; its only noise is LoRA's dropout."""
        inputs, places = batch
        if self.steer is not None:
            self.steer.drop_with(generator)
        try:
            scores = self._scores(inputs)
        finally:
            if self.steer is not None:
                self.steer.drop_with(None)
        return self._loss(scores, self._values[places]), {}

    def scores(self, places: Places, precision: Precision) -> Float[np.ndarray, "n k"]:
        """Scores of examples by the present weights, in the units of the targets."""
        order = sorted(places.tolist(), key=lambda place: self._lengths[place])
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(order), _EVALUATED):
            part = order[start : start + _EVALUATED]
            with torch.no_grad(), arithmetic(self.trainable.device.type, precision):
                rows = self._scores(self._inputs(part)).float().cpu().numpy()
            found.update(zip(part, rows, strict=True))
        rows = np.stack([found[place] for place in places.tolist()])
        return rows * np.float32(self._spread) + np.float32(self._middle)

    def mean_loss(self, scores: Float[np.ndarray, "n k"], places: Places) -> float:
        """Loss of scores that `scores` gave."""
        raw = torch.from_numpy((scores - self._middle) / self._spread).float()
        device = self.trainable.device
        return float(self._loss(raw.to(device), self._values[torch.from_numpy(places).to(device)]))

    def head(self) -> LinearHead:
        """The head with its present weights."""
        weight, bias = (parameter.detach().cpu().numpy() for parameter in self._head)
        return LinearHead(
            weight=(weight * self._spread).astype(np.float32),
            bias=(bias * self._spread + self._middle).astype(np.float32),
            task=self._problem.targets.task,
            labels=self._problem.targets.labels,
            base=self._problem.base.fingerprint,
        )

    def _open_parameters(self) -> None:
        trainable, settings = self.trainable, self.settings
        if settings.how == "lora":
            targets = self._targets()
            rank = lowrank.Rank(settings.rank, settings.alpha, settings.dropout, targets)
            generator = generator_for(self._problem.source.seed, 0, trainable.device.type)
            base = self._problem.base.fingerprint
            self.steer = lowrank.install(trainable.tower, rank, generator, base)
            tuned = self.steer.parameters()
        else:
            tuned = dict(trainable.network.named_parameters())
            below = self._below()
            for parameter in tuned.values():
                parameter.requires_grad_(id(parameter) not in below)
        self._parameters = dict(zip(HEAD, self._head, strict=True)) | self._reached(tuned)

    def _below(self) -> set[int]:
        """Parameters below the blocks that are trained."""
        if self.settings.top is None:
            return set()
        blocks = self.trainable.blocks()
        first = next(iter(blocks[len(blocks) - self.settings.top].parameters()))
        below = set()
        for parameter in self.trainable.tower.parameters():
            if parameter is first:
                break
            below.add(id(parameter))
        return below

    def _targets(self) -> tuple[str, ...]:
        tower = self.trainable.tower
        names = self.settings.targets
        found = named_targets(tower, names) if names else lowrank.find_targets(tower)
        if self.settings.top is None:
            return found
        blocks = self.trainable.blocks()
        tops = [id(module) for block in blocks[-self.settings.top :] for module in block.modules()]
        chosen = tuple(name for name in found if id(tower.get_submodule(name)) in set(tops))
        if not chosen:
            raise BadInput("none of the targets lies in the top.", "Raise --top.")
        return chosen

    def _reached(self, tuned: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Those parameters that a gradient comes to; poolers and other towers are none."""
        place = int(self._problem.split.train[0])
        sample = self.trainable.encode(
            inputs_of(self.trainable, [self._problem.examples.items[place]])
        )
        wanted = {name: p for name, p in tuned.items() if p.requires_grad}
        gradients = torch.autograd.grad(sample.sum(), list(wanted.values()), allow_unused=True)
        pairs = zip(wanted.items(), gradients, strict=True)
        return {name: p for (name, p), gradient in pairs if gradient is not None}

    def _inputs(self, places: Sequence[int]) -> Any:
        if self.kept is not None:
            return self.kept.inputs(places)
        items = [self._problem.examples.items[place] for place in places]
        return inputs_of(self.trainable, items)

    def _scores(self, inputs: Any) -> Tensor:
        if self.kept is not None:
            vectors = self.kept.below.encode(*inputs)
        else:
            vectors = self.trainable.encode(inputs)
        weight, bias = self._head
        return nn.functional.linear(vectors, weight, bias)

    def _loss(self, scores: Tensor, values: Tensor) -> Tensor:
        return loss_of(self._problem.targets.task, scores, values, self._weights)

    def _draw_order(self, epoch: int) -> Places:
        """The training examples of an epoch: drawn, then texts of like length put together."""
        generator = np.random.default_rng([self._problem.source.seed, epoch])
        order = generator.permutation(self._problem.split.train)
        if self._problem.examples.kind != "text":
            return order
        size = self.settings.batch
        parts: list[Places] = []
        for start in range(0, len(order), _WINDOW * size):
            window = order[start : start + _WINDOW * size]
            by_length = window[np.argsort([self._lengths[n] for n in window], kind="stable")]
            parts += [by_length[at : at + size] for at in range(0, len(by_length), size)]
        return np.concatenate([parts[n] for n in generator.permutation(len(parts))])

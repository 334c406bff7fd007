"""Full fine-tuning and LoRA with the common training loop, starting from the linear solution.

The output of the frozen lower layers is computed once for each item and cached.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .. import files
from ..adapters import lora
from ..adapters.linear_head import LinearHead
from ..adapters.lora_targets import named_targets
from ..adapters.manifest import Bundle
from ..allocation import reused_memory
from ..cache import cached_folder
from ..data.dataset import ImageArray, Item, Kind, OpenedData
from ..data.targets import Locations
from ..errors import BadInput, Damaged
from ..models.trainable import Inputs, Trainable, TruncatedForward, load_trainable
from ..models.transformers import choose_device, quiet
from ..settings import settings
from ..training.session import Precision
from ..training.state import Loss, arithmetic, generator_for
from ..types import Advance, Monitor, Task, Vectors
from .base_model import Base
from .problem import Problem
from .scoring import Settings

MODEL, ADAPTER = "model", "adapter"
_ENCODED = 32
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx")
_CONFIG = "config.json"


def load_network(base: Base, kind: Kind) -> Trainable:
    """Load the base as a network that can be trained on items of this kind."""
    device = choose_device("cpu" if base.device == "auto" else base.device)
    return load_trainable(base.root, kind, base.layer, device)


def inputs_of(trainable: Trainable, items: Sequence[Item]) -> Inputs:
    """Return the network's inputs for items, opening images."""
    opened: list[Any] = [
        item.open() if isinstance(item, ImageArray | OpenedData) else item for item in items
    ]
    return trainable.prepare(opened)


def encode(trainable: Trainable, items: Sequence[Item], advance: Advance) -> Vectors:
    """Return the items' unit vectors in order; texts of similar length share a batch."""
    order = sorted(range(len(items)), key=lambda n: -_length(items[n]))
    found: list[np.ndarray] = []
    with torch.inference_mode(), reused_memory() if len(items) >= _ENCODED else nullcontext():
        for start in range(0, len(items), _ENCODED):
            part = order[start : start + _ENCODED]
            tensor = trainable.encode(inputs_of(trainable, [items[n] for n in part]))
            found.append(tensor.float().cpu().numpy())
            advance(len(part))
    everything = np.concatenate(found)
    if not np.isfinite(everything).all():
        raise Damaged(
            f"the network in {trainable.root} gives vectors that are not finite.",
            "Its weights are damaged; make it again.",
        )
    vectors = np.empty_like(everything)
    vectors[order] = everything
    return vectors


class NetworkEncoder:
    """A network as an encoder, with its LoRA merged if it has one; see `Encode`.

    Attributes:
        trainable: the network.
        steer: its LoRA adapter; None for a network without one.
    """

    def __init__(self, trainable: Trainable, steer: lora.LowRank | None = None) -> None:
        self.trainable, self.steer = trainable, steer

    def scale_to(self, scale: float) -> None:
        """Merge the LoRA weights times `scale`; at 0 the network has its own weights."""
        if self.steer is not None:
            if scale != self.steer.scale:
                self.steer.unmerge()
                self.steer.scale = scale
            self.steer.merge()
        elif scale != 1:
            raise BadInput(
                f"scale {scale:g} needs an adapter, and full fine-tuning made a new model.",
                'Fit with method="lora" or "linear", or leave the scale at 1.',
            )

    def __call__(
        self,
        items: Sequence[Item],
        advance: Advance,
        unusual: Advance | None = None,  # noqa: ARG002  no statistics apply to a tuned network
    ) -> Vectors:
        """Encode items."""
        return encode(self.trainable, items, advance)


def load_tuned(bundle: Bundle, base: Base) -> NetworkEncoder:
    """Load the encoder of a fit by LoRA or full fine-tuning."""
    device = choose_device("cpu" if base.device == "auto" else base.device)
    reads = bundle.content["reads"]
    if bundle.kind == "full":
        root = bundle.folder / MODEL
        return NetworkEncoder(load_trainable(root, reads, base.layer, device))
    trainable = load_trainable(base.root, reads, base.layer, device)
    steer = lora.load(bundle.folder / ADAPTER, trainable.tower, base.name, base.fingerprint)
    return NetworkEncoder(trainable, steer)


def save_full(folder: Path, trainable: Trainable) -> None:
    """Write the network with its current weights as a model folder, inside a working folder.

    All other files are copied from the base, so that it is read in the same way.
    """
    target = folder / MODEL

    def left_out(path: str, names: list[str]) -> set[str]:
        here = Path(path) == trainable.place
        return {n for n in names if here and (n.endswith(_WEIGHTS) or n.endswith(".index.json"))}

    shutil.copytree(trainable.root, target, ignore=left_out)
    location = target / trainable.place.relative_to(trainable.root)
    config = (location / _CONFIG).read_bytes()
    network: Any = trainable.network
    with quiet():
        network.save_pretrained(location, max_shard_size="100GB")
    files.write_plain(location / _CONFIG, config)


def _length(item: Item) -> int:
    return len(item) if isinstance(item, str) else 0


_VERSION, _BATCH, _FILE = 2, 32, "states.npy"
_MASKS = ("mask", "attention_mask")


class StoredStates:
    """Cached input states of a block for every item, concatenated in a memory-mapped array.

    Attributes:
        below: the lower blocks of the network.
        seconds: the time that it took to compute the states originally.
    """

    seconds = 0.0

    def __init__(self, problem: Problem, trainable: Trainable, block: int) -> None:
        self._problem, self._trainable, self._block = problem, trainable, block
        self.below = TruncatedForward(trainable, block)
        # The values of an image's inputs no longer matter, but the network needs their shape.
        sample = inputs_of(trainable, problem.examples.items[:1])
        self._template = None if set(sample) & set(_MASKS) else sample
        self.below.states(sample)  # records the format of a block's output

    def fill(self, monitor: Monitor) -> None:
        """Compute the states unless they are cached."""
        problem = self._problem
        identity = f"{_VERSION} {problem.base.fingerprint} {problem.examples.hash} {self._block}"
        name = hashlib.sha256(identity.encode()).hexdigest()[:32]
        folder = settings().cache / "states" / name
        facts = cached_folder(folder, lambda target: self._build(target, monitor))
        self._rows: np.ndarray = np.load(folder / _FILE, mmap_mode="r", allow_pickle=False)
        self._ends: list[int] = facts["ends"]
        self.seconds = float(facts["seconds"])

    def inputs(self, locations: Sequence[int]) -> tuple[Inputs, Tensor]:
        """Return inputs and states of items, padded to the longest."""
        items = [self._problem.examples.items[location] for location in locations]
        if self._template is None:
            inputs = inputs_of(self._trainable, items)
        else:
            inputs = {
                name: value[:1].expand(len(items), *value.shape[1:])
                for name, value in self._template.items()
            }
        ends = self._ends
        spans = [(ends[n - 1] if n else 0, ends[n]) for n in locations]
        width = max(end - begin for begin, end in spans)
        if self._template is None:
            width = next(iter(inputs.values())).shape[1]
        states = np.zeros((len(items), width, *self._rows.shape[1:]), dtype=np.float32)
        for row, (begin, end) in enumerate(spans):
            states[row, : end - begin] = self._rows[begin:end]
        return inputs, torch.from_numpy(states)

    def _build(self, target: Path, monitor: Monitor) -> dict[str, Any]:
        begin = time.perf_counter()
        items = self._problem.examples.items
        monitor.start("states below the top", len(items))
        order = sorted(range(len(items)), key=lambda n: len(str(items[n])))
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(items), _BATCH):
            part = order[start : start + _BATCH]
            inputs = inputs_of(self._trainable, [items[n] for n in part])
            states = self.below.states(inputs).float().cpu().numpy()
            for n, row, length in zip(part, states, _lengths(inputs, states), strict=True):
                found[n] = row[:length].copy()
            monitor.advance(len(part))
        ends = np.cumsum([len(found[n]) for n in range(len(items))])
        shape = (int(ends[-1]), *found[0].shape[1:])
        written = np.lib.format.open_memmap(target / _FILE, "w+", np.float32, shape)
        for n, end in enumerate(ends):
            rows = found.pop(n)
            written[end - len(rows) : end] = rows
        written.flush()
        return {"ends": ends.tolist(), "seconds": time.perf_counter() - begin}


def _lengths(inputs: Inputs, states: np.ndarray) -> list[int]:
    for name in _MASKS:
        if name in inputs:
            return [int(count) for count in inputs[name].sum(dim=1)]
    return [states.shape[1]] * len(states)


def loss_of(task: Task, scores: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Return the cross-entropy of classes or labels, or the mean square error of a number."""
    scores = scores.float()
    if task == "class":
        return nn.functional.cross_entropy(scores, values, weights)
    if task == "labels":
        return nn.functional.binary_cross_entropy_with_logits(scores, values, pos_weight=weights)
    return nn.functional.mse_loss(scores[:, 0], values.float())


def weights_of(problem: Problem) -> Tensor:
    """Return the weights of classes, or of a label's presence; all 1 unless balanced."""
    targets, train = problem.targets, problem.split.train
    if targets.task == "number" or not problem.source.balanced:
        return torch.ones(targets.outputs)
    values = targets.values[train]
    if targets.task == "labels":
        held = values.sum(axis=0)
        return torch.from_numpy(((len(values) - held) / np.maximum(held, 1)).astype(np.float32))
    counts = np.maximum(np.bincount(values, minlength=targets.outputs), 1)
    return torch.from_numpy((len(values) / (targets.outputs * counts)).astype(np.float32))


_WINDOW = 16  # batches within which texts are sorted by length
_LAYER_DECAY = 0.85  # factor of the learning rate from each block to the next lower one
_HEAD_SHARE = 10.0  # factor over the last block's rate, in full fine-tuning
_EVALUATED = 64  # items at a time
HEAD = ("head.weight", "head.bias")


class Tuning:
    """A network with a head, to be trained on a problem; see `training.session.Task`.

    Attributes:
        settings: settings of the run.
        trainable: the network, with a LoRA adapter installed if that is the method.
        steer: that adapter.
        kept: cached input states of the trained blocks; None if all blocks are trained.
        initial: initial values of the trained parameters.
    """

    def __init__(
        self, problem: Problem, trainable: Trainable, start: LinearHead, settings: Settings
    ) -> None:
        self._problem, self.settings = problem, settings
        self.trainable = trainable
        self.steer: lora.LowRank | None = None
        self.kept: StoredStates | None = None
        values = problem.targets.values
        self._middle, self._deviation = 0.0, 1.0
        if problem.targets.task == "number":
            learned = values[problem.split.train]
            self._middle, self._deviation = float(learned.mean()), float(learned.std()) or 1.0
            values = (values - self._middle) / self._deviation
        self._values = torch.from_numpy(np.ascontiguousarray(values)).to(trainable.device)
        self._weights = weights_of(problem).to(trainable.device)
        weight = start.weight / self._deviation
        bias = (start.bias - self._middle) / self._deviation
        self._head = [
            nn.Parameter(torch.from_numpy(array.astype(np.float32)).to(trainable.device))
            for array in (weight, bias)
        ]
        if settings.top is not None:
            block = len(trainable.blocks()) - settings.top
            self.kept = StoredStates(problem, trainable, block)
        self._open_parameters()
        self.initial = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._lengths = [len(str(item)) for item in problem.examples.items]
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """Return the head's and the network's trained parameters that receive a gradient."""
        return self._parameters

    def shares(self) -> dict[str, float]:
        """Return learning rate factors: lower towards the input, block by block; higher for B."""
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
        """Merge a LoRA adapter into the weights within the context, as it will predict."""
        if self.steer is not None:
            self.steer.merge()
        try:
            yield
        finally:
            if self.steer is not None:
                self.steer.unmerge()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within the context, use cached states in place of the lower blocks."""
        if self.kept is None:
            yield
        else:
            with self.kept.below.skipped():
                yield

    def batch(self, first: int, count: int) -> tuple[Any, list[int]]:
        """Return inputs and indices of examples `first` to `first + count` of endless epochs."""
        train = self._problem.split.train
        locations = []
        for number in range(first, first + count):
            epoch, location = divmod(number, len(train))
            locations.append(int(self._order(epoch)[location]))
        return self._inputs(locations), locations

    def loss(self, batch: tuple[Any, list[int]], generator: torch.Generator) -> Loss:
        """Return the mean loss of a batch; LoRA's dropout is its only randomness."""
        inputs, locations = batch
        if self.steer is not None:
            self.steer.drop_with(generator)
        try:
            scores = self._scores(inputs)
        finally:
            if self.steer is not None:
                self.steer.drop_with(None)
        return self._loss(scores, self._values[locations]), {}

    def scores(self, locations: Locations, precision: Precision) -> Float[np.ndarray, "n k"]:
        """Return scores of examples with the current weights, in the units of the targets."""
        order = sorted(locations.tolist(), key=lambda location: self._lengths[location])
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(order), _EVALUATED):
            part = order[start : start + _EVALUATED]
            with torch.no_grad(), arithmetic(self.trainable.device.type, precision):
                rows = self._scores(self._inputs(part)).float().cpu().numpy()
            found.update(zip(part, rows, strict=True))
        rows = np.stack([found[location] for location in locations.tolist()])
        return rows * np.float32(self._deviation) + np.float32(self._middle)

    def mean_loss(self, scores: Float[np.ndarray, "n k"], locations: Locations) -> float:
        """Return the mean loss of scores returned by `scores`."""
        raw = torch.from_numpy((scores - self._middle) / self._deviation).float()
        device = self.trainable.device
        return float(
            self._loss(raw.to(device), self._values[torch.from_numpy(locations).to(device)])
        )

    def head(self) -> LinearHead:
        """Return the head with its current weights."""
        weight, bias = (parameter.detach().cpu().numpy() for parameter in self._head)
        return LinearHead(
            weight=(weight * self._deviation).astype(np.float32),
            bias=(bias * self._deviation + self._middle).astype(np.float32),
            task=self._problem.targets.task,
            labels=self._problem.targets.labels,
            base=self._problem.base.fingerprint,
        )

    def _open_parameters(self) -> None:
        trainable, settings = self.trainable, self.settings
        if settings.how == "lora":
            targets = self._targets()
            rank = lora.Rank(settings.rank, settings.alpha, settings.dropout, targets)
            generator = generator_for(self._problem.source.seed, 0, trainable.device.type)
            base = self._problem.base.fingerprint
            self.steer = lora.install(trainable.tower, rank, generator, base)
            tuned = self.steer.parameters()
        else:
            tuned = dict(trainable.network.named_parameters())
            below = self._below()
            for parameter in tuned.values():
                parameter.requires_grad_(id(parameter) not in below)
        self._parameters = dict(zip(HEAD, self._head, strict=True)) | self._reached(tuned)

    def _below(self) -> set[int]:
        """Return the ids of the parameters below the trained blocks."""
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
        found = named_targets(tower, names) if names else lora.find_targets(tower)
        if self.settings.top is None:
            return found
        blocks = self.trainable.blocks()
        tops = [id(module) for block in blocks[-self.settings.top :] for module in block.modules()]
        chosen = tuple(name for name in found if id(tower.get_submodule(name)) in set(tops))
        if not chosen:
            raise BadInput("none of the targets lies in the top.", "Raise --top.")
        return chosen

    def _reached(self, tuned: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Return the parameters that receive a gradient, unlike poolers and other towers."""
        location = int(self._problem.split.train[0])
        sample = self.trainable.encode(
            inputs_of(self.trainable, [self._problem.examples.items[location]])
        )
        requested = {name: p for name, p in tuned.items() if p.requires_grad}
        gradients = torch.autograd.grad(sample.sum(), list(requested.values()), allow_unused=True)
        pairs = zip(requested.items(), gradients, strict=True)
        return {name: p for (name, p), gradient in pairs if gradient is not None}

    def _inputs(self, locations: Sequence[int]) -> Any:
        if self.kept is not None:
            return self.kept.inputs(locations)
        items = [self._problem.examples.items[location] for location in locations]
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

    def _draw_order(self, epoch: int) -> Locations:
        generator = np.random.default_rng([self._problem.source.seed, epoch])
        order = generator.permutation(self._problem.split.train)
        if self._problem.examples.kind != "text":
            return order
        size = self.settings.batch
        parts: list[Locations] = []
        for start in range(0, len(order), _WINDOW * size):
            window = order[start : start + _WINDOW * size]
            by_length = window[np.argsort([self._lengths[n] for n in window], kind="stable")]
            parts += [by_length[at : at + size] for at in range(0, len(by_length), size)]
        return np.concatenate([parts[n] for n in generator.permutation(len(parts))])

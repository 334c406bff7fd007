"""State of a training, weight initialization, and the choice of precision."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import AdamW

from .. import files, folders
from ..errors import BadFile, BadInput, Damaged
from .session import Plan, Precision

Loss = tuple[Tensor, Mapping[str, Tensor]]  # of a batch, and figures to log


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


def in_order(count: int, first: int, items: int, seed: int) -> Int64[np.ndarray, " n"]:
    """Return the numbers of items `first` to `first + items`, reshuffled in each epoch."""
    return in_epochs(partial(_order, count, seed), count, first, items)


def in_epochs(
    epoch: Callable[[int], Shaped[np.ndarray, " n"]], count: int, first: int, items: int
) -> Shaped[np.ndarray, " n"]:
    """Return items of an endless sequence of epochs, each with `count` values."""
    parts = []
    while items:
        number, location = divmod(first, count)
        parts.append(epoch(number)[location : location + items])
        first, items = first + len(parts[-1]), items - len(parts[-1])
    return np.concatenate(parts)


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> Int64[np.ndarray, " n"]:
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,)))
    return generator.permutation(count)


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
            loaded = value.to(parameter.device)
            if value.shape == parameter.shape:  # strides too: the fused AdamW walks raw memory
                loaded = torch.empty_like(parameter).copy_(value)
            self.optimizer.state[parameter][moment] = loaded

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


def compiled_for(device: str, function: Any) -> Any:
    """Return a network or function compiled for a GPU, where one step has many small kernels."""
    return torch.compile(function) if device == "cuda" else function


def generator_for(seed: int, number: int, device: str) -> torch.Generator:
    """Return a random generator that depends only on `seed` and `number`."""
    mixed = np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed >> np.uint64(1)))


KIND = "checkpoints"
_MANIFEST = "manifest.json"
_VERSION = 1
_NAME = re.compile(r"step-\d{8,}|\.step-\d{8,}\.\d+\.(tmp|old)")
_SUFFIXES = {".safetensors", ".tmp"}
_RETAINED = 2  # of the newest, beside the best


@dataclass(frozen=True, slots=True)
class Facts:
    """Contents of a checkpoint besides its tensors.

    Attributes:
        step: steps done.
        configuration: of the training.
        loss: mean since the previous checkpoint; the lowest is the best.
        counters: other numbers of the state.
    """

    step: int
    configuration: Mapping[str, Any]
    loss: float
    counters: Mapping[str, float]


def save(folder: Path, parts: Parts, facts: Facts) -> None:
    """Write a checkpoint, verify it by reading it back, then remove those no longer needed.

    Raises:
        NoRoom: the disk is full; earlier checkpoints are intact.
        Damaged: the disk did not store what was written.
    """
    claim(folder)
    target = folder / f"step-{facts.step:08d}"
    with folders.working_folder(target) as working:
        hashes = {}
        for name, tensors in parts.items():
            content = to_bytes({key: value.contiguous() for key, value in tensors.items()})
            hashes[name] = hashlib.sha256(content).hexdigest()
            files.write_plain(working / f"{name}.safetensors", content)
        manifest = {"version": _VERSION, **asdict(facts), "sha256": hashes}
        files.write_sealed_json(working / _MANIFEST, manifest)
    for name, digest in hashes.items():
        if files.sha256_of_file(target / f"{name}.safetensors") != digest:
            raise Damaged(
                f"{target / name}.safetensors is not what was written.", "Check the disk."
            )
    _remove_unneeded(folder)


def load_newest(folder: Path, note: Callable[[str], None]) -> tuple[Parts, Facts] | None:
    """Load the newest intact checkpoint; None if there are no checkpoints.

    Damaged ones are reported to `note` and removed once an older intact one has been read.

    Raises:
        Damaged: there are checkpoints, but none is intact.
    """
    damaged: list[tuple[Path, str]] = []
    for path in _newest_first(folder):
        try:
            loaded = _load(path)
        except Damaged as error:
            damaged.append((path, error.message))
            continue
        for bad, message in damaged:
            note(f"{message} Going on from {path.name}.")
            _remove(bad)
        return loaded
    if damaged:
        raise Damaged(
            f"no checkpoint in {folder} is whole: {damaged[0][1]}",
            "Take that folder away to begin again.",
        )
    return None


def require_same(folder: Path, configuration: Mapping[str, Any]) -> None:
    """Refuse to resume a training with another configuration.

    Raises:
        BadInput: names the differences.
    """
    for path in _newest_first(folder):
        try:
            former = _read_manifest(path)["configuration"]
        except Damaged:
            continue
        refuse_other(folder.parent, former, configuration)
        return


def _differing(former: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    words: list[str] = []
    for key in sorted(former.keys() | requested.keys()):
        there, now = former.get(key), requested.get(key)
        if isinstance(there, Mapping) and isinstance(now, Mapping):
            words += _differing(there, now)
        elif there != now:
            words.append(f"{key.replace('_', ' ')} {there!r}, not {now!r}")
    return words


def refuse_other(folder: Path, former: Mapping[str, Any], configuration: Mapping[str, Any]) -> None:
    """Refuse a configuration that differs from the one in the training's folder.

    Raises:
        BadInput: names the differences.
    """
    differing = _differing(former, files.parse_json(json.dumps(configuration)))
    if differing:
        raise BadInput(
            f"{folder} holds a training with {'; '.join(differing)}.",
            "Pass another --out folder, or run it as it was begun.",
        )


def claim(folder: Path) -> None:
    """Mark a folder as ours, for checkpoints; it must be empty or contain only checkpoints.

    Raises:
        BadFile: it contains something else, which is left untouched.
        NoRoom: it cannot be written.
    """
    folders.claim(folder, KIND, verify=_holds_nothing_else)


def holds_sealed(folder: Path) -> bool:
    """Whether there is a checkpoint whose manifest matches its hash."""
    for path in _newest_first(folder):
        with suppress(Damaged, BadFile):
            _read_manifest(path)
            return True
    return False


def tidy(folder: Path) -> None:
    """Remove what a killed process left half written or half removed, but only folders of ours."""
    if folders.kind_of(folder) != KIND:
        return
    for path in folder.iterdir():
        if path.is_dir() and (path.name.startswith(".step-") or not (path / _MANIFEST).is_file()):
            folders.remove(path, owner=folder)


def _holds_nothing_else(folder: Path) -> bool:
    """Whether a folder without a marker contains only checkpoints, complete or not."""
    return all(
        _NAME.fullmatch(path.name) is not None
        and path.is_dir()
        and all(file.name == _MANIFEST or file.suffix in _SUFFIXES for file in path.iterdir())
        for path in folder.iterdir()
        if path.name not in folders.BOOKKEEPING
    )


def _newest_first(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("step-*") if path.is_dir()), reverse=True)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = files.read_sealed_json(path / _MANIFEST)
    except Damaged:
        manifest = {}
    except (BadFile, OSError) as error:
        raise Damaged(f"checkpoint {path.name} has no readable manifest.") from error
    if not isinstance(manifest, dict) or "seal" not in manifest:
        raise Damaged(f"the manifest of checkpoint {path.name} does not match its hash.")
    if manifest["version"] != _VERSION:
        raise BadFile(
            f"checkpoint {path} has the format {manifest['version']}, not {_VERSION}.",
            "Go on with the version of graftwerk that wrote it.",
        )
    return manifest


def _load(path: Path) -> tuple[Parts, Facts]:
    manifest = _read_manifest(path)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, digest in manifest["sha256"].items():
        file = path / f"{name}.safetensors"
        try:
            content = file.read_bytes()
        except OSError as error:
            raise Damaged(f"checkpoint {path.name} lacks {file.name}.") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise Damaged(f"{file.name} of checkpoint {path.name} does not match its hash.")
        parts[name] = from_bytes(content)
    return parts, Facts(**{one.name: manifest[one.name] for one in fields(Facts)})


def _remove_unneeded(folder: Path) -> None:
    newest, *older = _newest_first(folder)
    losses = {}
    for path in (newest, *older):
        try:
            losses[path] = _read_manifest(path)["loss"]
        except Damaged:
            _remove(path)
    best = min(losses, key=lambda path: losses[path])
    for path in list(losses)[_RETAINED:]:
        if path != best:
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a checkpoint, its manifest first, so that a half-removed one is never loaded."""
    claim(path.parent)
    (path / _MANIFEST).unlink(missing_ok=True)
    folders.remove(path, owner=path.parent)

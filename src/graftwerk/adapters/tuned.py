"""What fitting changes in a frozen network: its last layers, a LoRA adapter, or all weights.

How much of the learned change is applied, from none to all of it, is chosen on held-out data. Only
what was learned is saved, with the name and hash of the frozen model.
"""

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar, runtime_checkable

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from .. import files, folders
from ..errors import BadFile
from ..models.checkpoint import check_safetensors
from ..models.hub import require_reachable
from ..training.loop import train
from ..training.session import Plan, Session, Task
from ..training.state import generator_for
from ..types import Monitor
from .lora import LowRank, Rank, install, install_adapter
from .manifest import RECORD, is_replaceable, read_bundle, require_base, write_bundle
from .peft_format import read_adapter, require_fit

Method = Literal["linear", "lora", "full"]
_WEIGHTS = "learned.safetensors"
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the learned change


@runtime_checkable
class Model(Protocol):
    """A frozen model that can be fitted.

    Attributes:
        name: as its user wrote it.
        fingerprint: hash of its weights and configuration.
        device: of the network.
    """

    name: str
    fingerprint: str
    device: str

    @property
    def network(self) -> nn.Module:
        """The module, in evaluation mode."""
        ...

    @property
    def heads(self) -> tuple[str, ...]:
        """Paths of its last layers, which the method `linear` trains."""
        ...


AnyModel = TypeVar("AnyModel", bound=Model)


@dataclass(frozen=True, slots=True)
class Fitting:
    """How to fit a model.

    Attributes:
        method: which parameters are trained.
        plan: hyperparameters of the training.
        rank: hyperparameters of the LoRA adapter.
        seed: of the order of the data and the initialization.
        about: further values that determine the training.
    """

    method: Method
    plan: Plan
    rank: Rank
    seed: int
    about: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Tuned:
    """Result of fitting.

    Attributes:
        method: how it was fitted.
        parameters: number of trained parameters.
        share: of the learned change that is applied; 0 leaves the frozen model as it was.
        before: mean loss of the held-out data with the frozen model.
        after: the same with the applied share.
        frozen: the frozen values of the trained parameters, by name; empty with `lora`.
        weights: their values with the applied share; empty with `lora`.
        steer: the LoRA adapter, with `lora`; it is installed in the network.
    """

    method: Method
    parameters: int
    share: float
    before: float
    after: float
    frozen: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    steer: LowRank | None = None

    def describe(self) -> str:
        """Return a one-line summary."""
        return (
            f"{self.method}: {self.parameters:,} numbers learned, loss of held-out windows "
            f"{self.before:.4f} -> {self.after:.4f} with {self.share:.0%} of what was learned"
        )

    def apply(self, network: nn.Module, scale: float) -> None:
        """Apply `scale` times the change; at 0 the network is the frozen one, bit for bit."""
        if self.steer is not None:
            self.steer.scale = self.share * scale
            return
        parameters = dict(network.named_parameters())
        with torch.no_grad():
            for name, frozen in self.frozen.items():
                exact = {0.0: frozen, 1.0: self.weights[name]}.get(scale)
                value = torch.lerp(frozen, self.weights[name], scale) if exact is None else exact
                parameters[name].copy_(value)


def tune(
    model: Model,
    how: Fitting,
    make_task: Callable[[Mapping[str, nn.Parameter]], Task],
    held: Callable[[], float],
    monitor: Monitor,
) -> Tuned:
    """Fit a model, whose network is modified.

    Args:
        model: the model to fit.
        how: see `Fitting`.
        make_task: creates the training task for the trained parameters.
        held: returns the mean loss of the held-out data with the network as it is.
        monitor: for progress.

    Raises:
        Diverged: the loss is no longer finite.
    """
    steer, parameters = _parameters(model, how)
    frozen = {name: one.detach().clone() for name, one in parameters.items()}
    with tempfile.TemporaryDirectory(prefix="graftwerk-") as folder:
        facts = {"method": how.method, "seed": how.seed, **how.about}
        session = Session(Path(folder) / "training", facts, how.seed)
        learned = train(make_task(parameters), how.plan, session, monitor).average
    if steer is not None:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(learned[name])
    found, all_of_it = {}, Tuned(how.method, 0, 1.0, 0.0, 0.0, frozen, learned, steer)
    for share in _SHARES:
        all_of_it.apply(model.network, share)
        with torch.no_grad():
            loss = held()
        found[share] = loss if math.isfinite(loss) else math.inf
    best = min(found, key=lambda share: (found[share], share))
    all_of_it.apply(model.network, best)
    weights = {} if steer else {name: one.detach().clone() for name, one in parameters.items()}
    model.network.requires_grad_(False)
    return Tuned(
        method=how.method,
        parameters=sum(one.numel() for one in parameters.values()),
        share=best,
        before=found[0.0],
        after=found[best],
        frozen={} if steer else frozen,
        weights=weights,
        steer=steer,
    )


def _parameters(model: Model, how: Fitting) -> tuple[LowRank | None, dict[str, nn.Parameter]]:
    if how.method == "lora":
        generator = generator_for(how.seed, 0, model.device)
        steer = install(model.network, how.rank, generator, model.fingerprint)
        return steer, steer.parameters()
    model.network.requires_grad_(False)
    chosen = {
        name: one
        for name, one in model.network.named_parameters()
        if how.method == "full" or name.startswith(tuple(f"{head}." for head in model.heads))
    }
    for one in chosen.values():
        one.requires_grad_(True)
    return None, chosen


def require_free(folder: Path, kind: str, what: str) -> None:
    """Refuse a folder that contains something else.

    Raises:
        BadFile: it does.
    """
    folders.require_replaceable(folder, what, verify=lambda path: is_replaceable(path, kind))


def save_tuned(
    folder: Path, kind: str, base: Model, tuned: Tuned, about: Mapping[str, object]
) -> None:
    """Save the learned weights, and only those, atomically.

    Raises:
        BadFile, NoRoom: the folder contains something else, or cannot be written.
    """
    content = {"method": tuned.method, "share": tuned.share, "about": tuned.describe(), **about}
    with folders.working_folder(folder, lambda path: is_replaceable(path, kind)) as working:
        if tuned.steer is not None:
            tuned.steer.write_into(working, base.name)
        else:
            weights = {name: one.cpu().contiguous() for name, one in tuned.weights.items()}
            files.write_plain(working / _WEIGHTS, to_bytes(weights))
        write_bundle(working, kind, _named(base.name), base.fingerprint, content)


def open_tuned(
    name: str, kind: str, open_base: Callable[[str], AnyModel]
) -> tuple[AnyModel, Tuned, Mapping[str, object]]:
    """Load a fitted model and return it with what was learned and the further content.

    Raises:
        BadFile: the folder is not a fitted model, or its base model does not exist.
        WrongBase: the base model is not the one it was fitted on; the message names both.
        Damaged: a file does not match its checksum.
    """
    folder = Path(name).expanduser().absolute()
    bundle = read_bundle(folder, kind)
    require_reachable(bundle.base_name, "--model")
    model = open_base(bundle.base_name)
    require_base(bundle, model.name, model.fingerprint)
    try:
        method, share = str(bundle.content["method"]), float(bundle.content["share"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(f"{folder / RECORD} is not that of a {kind}.", "Copy it again.") from error
    frozen, weights, steer = {}, {}, None
    if method == "lora":
        adapter = read_adapter(folder)
        require_fit(adapter, folder, model.network, model.name)
        steer = install_adapter(model.network, adapter, model.fingerprint)
    else:
        check_safetensors(folder / _WEIGHTS)
        weights = load_file(folder / _WEIGHTS)
        frozen = _frozen(model, weights, folder)
    count = sum(one.numel() for one in (steer.parameters() if steer else weights).values())
    tuned = Tuned(method, count, share, 0.0, 0.0, frozen, weights, steer)  # type: ignore[arg-type]
    tuned.apply(model.network, 1.0)
    model.name = name
    return model, tuned, bundle.content


def _frozen(model: Model, weights: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    parameters = dict(model.network.named_parameters())
    for name, one in weights.items():
        if name not in parameters or parameters[name].shape != one.shape:
            raise BadFile(
                f"{folder / _WEIGHTS} does not fit {model.name}: {name!r}.", "Fit it again."
            )
    return {name: parameters[name].detach().clone() for name in weights}


def _named(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.absolute()) if path.is_dir() else name

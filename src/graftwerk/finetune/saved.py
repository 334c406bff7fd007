"""The folder of a fit: writing, reading, and predicting from it.

A fit consists of a head, the parameters learned in addition to it, and `graft.json`. Until a
training is finished, it is stored in a hidden folder next to the fit.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .. import files, folders
from ..adapters import manifest
from ..adapters.linear_head import HeadScores, LinearHead, Opinion, load_head
from ..data.columns import ColumnChoice
from ..data.dataset import Item, Kind
from ..data.tables import Reading, reading_of
from ..data.targets import balance
from ..errors import BadFile, BadInput, WrongBase
from ..types import Advance, Task, Vectors
from .base_model import NO_MODEL, Base, Encode, open_base
from .problem import Problem
from .results import Score, ScoreDetails

if TYPE_CHECKING:
    from ..requests.finetune import EvalFit, Predict
    from .tune import NetworkEncoder


KINDS = ("linear", "lora", "full")
LOW_RANK = "low-rank"  # what `lora train` saves; see `adapters.lora`
_LEARNED = "learned.safetensors"


@dataclass(frozen=True, slots=True)
class Made:
    """A fit before it is written.

    Attributes:
        how: `linear`, `lora` or `full`.
        head: its linear head.
        score: score on the test examples; None if there are none.
        settings: the settings it was made with, as JSON.
        save: writes the parameters learned in addition to the head into a folder.
        open_encoder: returns the network that its features come from.
        parameters: number of learned parameters.
        details: details of the score.
    """

    how: str
    head: LinearHead
    score: Score | None
    settings: Mapping[str, Any]
    save: Callable[[Path], None]
    open_encoder: Callable[[], Encode]
    parameters: int
    details: ScoreDetails | None = None

    @property
    def test_score(self) -> Score:
        """The score on the test examples; ValueError if there are none."""
        if self.score is None:
            raise ValueError("nothing was tested")
        return self.score


class FittedModel:
    """A head and the network that its features come from, which is loaded once.

    Attributes:
        how: `linear`, `lora` or `full`.
        base: the frozen model.
        head: its head.
        kind: kind of items that it reads.
    """

    def __init__(
        self, how: str, base: Base, head: LinearHead, kind: Kind, open_encoder: Callable[[], Encode]
    ) -> None:
        self.how, self.base, self.head, self.kind = how, base, head, kind
        self._open_encoder = open_encoder

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled; the frozen model is opened again by its name."""
        if self.how != "linear":
            raise BadInput(
                f"a fit by {self.how} cannot be pickled: it holds a whole network.",
                "Write it with save(folder), and read it with gw.load(folder).",
            )
        state = {name: value for name, value in vars(self).items() if name != "_encode"}
        return state | {"_open_encoder": partial(_reopen, self.base)}

    @property
    def task(self) -> Task:
        """The type of prediction."""
        return self.head.task

    @cached_property
    def _encode(self) -> Encode:
        return self._open_encoder()

    def load(self) -> None:
        """Load the network now instead of with the first items."""
        _ = self._encode

    def judge(
        self,
        items: Sequence[Item],
        advance: Advance,
        unusual: Advance | None = None,
        scale: float = 1.0,
    ) -> Opinion:
        """Return features and scores of items.

        Args:
            items: items of the kind that it reads.
            advance: called with the number of items done.
            unusual: for a linear fit, called with the number of images that are out of
                distribution
                for the frozen model; a tuned network has learned from others as well.
            scale: scale of everything that was learned; at 0 this is the frozen model, whose scores
                are all 0.

        Raises:
            BadInput: another scale than 1 of a fit of all weights.
        """
        if self.how != "linear":
            cast("NetworkEncoder", self._encode).scale_to(scale)

        def encode(requested: Sequence[Item]) -> Vectors:
            return self._encode(requested, advance, unusual)

        features = encode(items)
        return Opinion(features, replace(self.head, scale=scale).score(features))


def _reopen(base: Base) -> Encode:
    """Load the frozen model of a pickled fit.

    Raises:
        WrongBase: the model of that name has other weights now.
    """
    if base.name != NO_MODEL:
        found = open_base(base.name, base.layer, base.device)
        if found.fingerprint != base.fingerprint:
            raise WrongBase(
                "the pickled fit", base.fingerprint[:12], found.fingerprint[:12], "Fit it again."
            )
    return base.encoder()


@dataclass(frozen=True)
class Saved:
    """A fit that was read.

    Attributes:
        model: the fitted model.
        bundle: its record.
        requested: the columns that it reads.
        learned: first 8 bytes of the hash of each content that it has learned from.
    """

    model: FittedModel
    bundle: manifest.Bundle
    requested: ColumnChoice
    learned: frozenset[int]

    @property
    def base(self) -> Base:
        """The frozen model."""
        return self.model.base

    @property
    def head(self) -> LinearHead:
        """The head."""
        return self.model.head

    @property
    def kind(self) -> Kind:
        """The kind of items that it reads."""
        return self.model.kind

    @property
    def task(self) -> Task:
        """The type of prediction."""
        return self.model.task

    def requested_of(self, request: "Predict | EvalFit") -> ColumnChoice:
        """Return the columns to read: those of the fit, unless the request overrides them."""
        known = self.requested
        return replace(
            known,
            target=request.target or known.target,
            reading=reading_of(request).otherwise(known.reading),
        )

    def scores(
        self, items: Sequence[Item], advance: Advance, unusual: Advance | None = None
    ) -> HeadScores:
        """Return the scores of items; see `FittedModel.judge`."""
        return self.model.judge(items, advance, unusual).scores


def require_free(out: Path) -> None:
    """Refuse to overwrite anything but a fit.

    Raises:
        BadFile: the folder holds something that is no fit, or something beside it.
    """
    folders.require_replaceable(out, "fit", verify=_is_fit)


def _is_fit(folder: Path) -> bool:
    return manifest.is_replaceable(folder, *KINDS, LOW_RANK)


@dataclass(frozen=True)
class Unsaved:
    """A fit that can be written at any time, without the data that it was made from.

    Attributes:
        made: the fitted head and parameters.
        base: the frozen model.
        content: its entries in `graft.json`.
        learned: first 8 bytes of the hash of each content that was learned from, in order.
    """

    made: Made
    base: Base
    content: Mapping[str, Any]
    learned: Sequence[int]

    def save(self, out: Path) -> int:
        """Write the fit atomically; return the folder's size in bytes.

        Raises:
            BadFile: the folder holds something else; see `require_free`.
            NoRoom: it cannot be written; what was there is as it was.
        """
        from safetensors.numpy import save

        base = self.base
        name = str(base.root) if Path(base.name).expanduser().is_dir() else base.name
        if base.name != NO_MODEL:
            folders.require_outside([base.root], out)
        keys = save({"keys": np.array(self.learned, dtype=np.uint64)})
        with folders.working_folder(out, _is_fit) as folder:
            self.made.head.save(folder)
            self.made.save(folder)
            files.write_plain(folder / _LEARNED, keys)
            manifest.write_bundle(folder, self.made.how, name, base.fingerprint, self.content)
        return files.size_of(out)


def describe_fit(problem: Problem, made: Made) -> Unsaved:
    """Return a fit with its record."""
    base, source = problem.base, problem.source
    content = {
        "task": made.head.task,
        "labels": list(made.head.labels),
        "reads": problem.examples.kind,
        "columns": list(problem.examples.columns),
        "numbers": list(problem.examples.numbers),
        "layer": base.layer,
        "split": {
            "seed": source.seed,
            "train": len(problem.split.train),
            "validation": len(problem.split.validation),
            "test": len(problem.split.test),
        },
        "classes": balance(problem.targets, problem.split.learned),
        "metrics": {} if made.score is None else made.score.model_dump(),
        "request": asdict(source),
        "settings": dict(made.settings),
    }
    learned = sorted({short(problem.examples.keys[n]) for n in problem.split.learned.tolist()})
    return Unsaved(made, base, content, learned)


def copy_fit(saved: manifest.Bundle, out: Path) -> None:
    """Copy a saved fit to another folder atomically.

    Raises:
        BadFile: it is gone, or the other folder holds something else.
        Damaged: it is not any more what was opened.
    """
    bundle = manifest.read_bundle(saved.folder, saved.kind)
    names = manifest.files_of(saved.folder, saved.kind) or set()
    folders.require_outside([saved.folder], out)
    with folders.working_folder(out, _is_fit) as folder:
        for name in sorted(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.folder / name, folder / name)


def require_saved(folder: Path) -> None:
    """Refuse a folder that does not contain a fit, and say what opens it.

    Raises:
        BadFile: graftwerk did not save anything there.
        BadInput: it is of another kind.
    """
    if (folder / "compare.json").is_file() and not (folder / manifest.RECORD).is_file():
        raise BadInput(f"{folder} holds a comparison.", f"Open a fit in it: {folder / KINDS[0]}.")
    if not (folder / manifest.RECORD).is_file():
        raise BadFile(
            f"{folder} contains no {manifest.RECORD}, so it is not a saved fit.",
            folders.hint_for(
                folder, "Pass the folder that was given to save(), or to graft fit --out."
            ),
        )
    record = files.read_sealed_json(folder / manifest.RECORD)
    kind = record.get("kind") if isinstance(record, dict) else None
    if kind not in KINDS:
        raise BadInput(
            f"{folder} holds a {kind!r}, which is not a classifier or regressor.",
            folders.hint_for(folder, f"It opens: {', '.join(KINDS)}."),
        )


def open_fit(folder: Path, model: str | None, device: str) -> Saved:
    """Read a fit and its frozen model.

    Args:
        folder: folder that `graft fit` wrote.
        model: current location of the frozen model; None for the recorded one.
        device: device to run on.

    Raises:
        BadFile: it is no fit, or the frozen model is not there.
        WrongBase: the frozen model is another one.
        Damaged: a file does not match its hash.
    """
    from safetensors.numpy import load

    bundle = manifest.read_bundle(folder, *KINDS)
    try:
        content = bundle.content
        request = content["request"]
        columns = tuple(content.get("columns") or request["content"])
        reading = Reading(**request.get("reading", {}))
        reads = frozenset({content["reads"]})
        numbers = tuple(content.get("numbers", ())) or None
        requested = ColumnChoice(reads, request["target"], columns, reading, numbers=numbers)
        layer, task, labels = content["layer"], content["task"], content["labels"]
        keys = load((folder / _LEARNED).read_bytes())["keys"]
    except (KeyError, TypeError, OSError) as error:
        raise BadFile(
            f"{folder / manifest.RECORD} is not the record of a fit.", "Copy it again."
        ) from error
    base = open_base(model or bundle.base_name, layer, device)
    manifest.require_base(bundle, base.name, base.fingerprint)
    head = load_head(folder, task, labels, base.fingerprint)

    def open_encoder() -> Encode:
        if bundle.kind == "linear":
            return base.encoder()
        from .tune import load_tuned

        return load_tuned(bundle, base)

    fitted = FittedModel(bundle.kind, base, head, content["reads"], open_encoder)
    return Saved(fitted, bundle, requested, frozenset(keys.tolist()))


def short(key: str) -> int:
    """Return the first 8 bytes of a content's hash."""
    return int(key[:16], 16)


TRAINING = "training"
_NAMES = {"best.safetensors", "validations.jsonl"}  # in addition to those of every training


def training_location(out: Path) -> Path:
    """Return the folder for the training of a fit, adopting one left by an older version.

    Older versions stored a training without a marker, under another name.

    Raises:
        BadFile: all names for it are taken.
        NoRoom: the folder cannot be written.
    """
    location = folders.beside(out, TRAINING)
    former = out.with_name(f"{out.name}.{TRAINING}")
    if (
        former.is_dir()
        and not former.is_symlink()
        and not location.exists()
        and is_retained(former)
    ):
        folders.claim(former, TRAINING, verify=is_retained)
        former.rename(location)
    return location


def is_retained(folder: Path) -> bool:
    """Whether a folder contains only one training, or several in numbered folders."""
    from ..training.loop import CHECKPOINTS, LOG, PLOT, is_training

    names = folders.entries(folder)
    several = [folder / name for name in names if name.isdecimal()]
    if several:
        return len(several) == len(names) and all(is_retained(one) for one in several)
    return {*names} <= {CHECKPOINTS, LOG, PLOT, *_NAMES} and is_training(folder)

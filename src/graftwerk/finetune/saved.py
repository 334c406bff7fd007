"""The folder of a fit, written and read: head, what was learned beside it, and `graft.json`.

What is to be predicted for: texts, files, tables, lines of standard input.

Where a fit's training is kept until it is finished: a hidden folder of ours beside the fit.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import files, folders
from ..adapters.linear_head import HeadScores, LinearHead, load_head
from ..adapters.manifest import (
    RECORD,
    Bundle,
    is_replaceable,
    read_bundle,
    require_base,
    write_bundle,
)
from ..data.columns import KIND_WORDS, Wanted
from ..data.dataset import Item, Kind, Picture
from ..data.documents.formats import PICTURES, is_image_path, refuse_missing
from ..data.load import TEXTS, read_items, read_text
from ..data.split import balance
from ..data.tables import SUFFIXES
from ..errors import BadFile, BadInput
from ..results import LeftOut
from ..types import Task
from .base_model import Advance, Base, open_base
from .problem import Problem
from .results import Score

KINDS = ("linear", "lora", "full")
LOW_RANK = "low-rank"  # what `fit --task generate` and `write` save; see `steer.lowrank`
_LEARNED = "learned.safetensors"


@dataclass(frozen=True, slots=True)
class Made:
    """A fit before it is written.

    Attributes:
        how: `linear`, `lora` or `full`.
        head: its linear head.
        score: on the test examples.
        settings: what it was made with, as JSON.
        save: writes what was learned beside the head into a folder.
        parameters: numbers that were learned.
    """

    how: str
    head: LinearHead
    score: Score
    settings: Mapping[str, Any]
    save: Callable[[Path], None]
    parameters: int


@dataclass(frozen=True)
class Saved:
    """A fit that was read.

    Attributes:
        bundle: its record.
        base: the frozen model.
        head: its head.
        kind: what it reads.
        wanted: the columns that it reads.
        learned: first 8 bytes of the hash of each content that it has learned from.
    """

    bundle: Bundle
    base: Base
    head: LinearHead
    kind: Kind
    wanted: Wanted
    learned: frozenset[int]

    @property
    def task(self) -> Task:
        """What it predicts."""
        return self.head.task

    def scores(
        self, items: Sequence[Item], advance: Advance, strange: Advance | None = None
    ) -> HeadScores:
        """Scores of items.

        Of a linear fit `strange` is told how many pictures are unlike those of the frozen
        model's training; a tuned network has learned others beside these.
        """
        if self.bundle.kind == "linear":
            encode = self.base.encoder(strange)
        else:
            from .networks import load_tuned

            encode = load_tuned(self.bundle, self.base)
        return self.head.score(encode(items, advance))


def require_free(out: Path) -> None:
    """Refuse to write over something else.

    Raises:
        BadFile: the folder holds something that is no fit, or something beside it.
    """
    folders.require_replaceable(out, "fit", verify=_is_fit)


def _is_fit(folder: Path) -> bool:
    return is_replaceable(folder, *KINDS, LOW_RANK)


def save_fit(out: Path, problem: Problem, made: Made) -> int:
    """Write a fit, whole or not at all; gives the folder's size in bytes.

    Raises:
        BadFile: the folder holds something else; see `require_free`.
        NoRoom: it cannot be written; what was there is as it was.
    """
    from safetensors.numpy import save

    base, source = problem.base, problem.source
    learned = sorted({short(problem.examples.keys[n]) for n in problem.split.learned.tolist()})
    name = str(base.root) if Path(base.name).expanduser().is_dir() else base.name
    content = {
        "task": made.head.task,
        "labels": list(made.head.labels),
        "reads": problem.examples.kind,
        "columns": list(problem.examples.columns),
        "layer": base.layer,
        "split": {
            "seed": source.seed,
            "train": len(problem.split.train),
            "validation": len(problem.split.validation),
            "test": len(problem.split.test),
        },
        "classes": balance(problem.targets, problem.split.learned),
        "metrics": made.score.model_dump(),
        "request": asdict(source),
        "settings": dict(made.settings),
    }
    with folders.working_folder(out, _is_fit) as folder:
        made.head.save(folder)
        made.save(folder)
        files.write_plain(folder / _LEARNED, save({"keys": np.array(learned, dtype=np.uint64)}))
        write_bundle(folder, made.how, name, base.fingerprint, content)
    return size_of(out)


def open_fit(folder: Path, model: str | None, device: str) -> Saved:
    """Read a fit and its frozen model.

    Args:
        folder: what `save_fit` wrote.
        model: where the frozen model lies now; None: where it was.
        device: where it is to run.

    Raises:
        BadFile: it is no fit, or the frozen model is not there.
        WrongBase: the frozen model is another one.
        Damaged: a file does not match its hash.
    """
    from safetensors.numpy import load

    bundle = read_bundle(folder, *KINDS)
    try:
        content = bundle.content
        request = content["request"]
        columns = tuple(content.get("columns") or request["content"])
        wanted = Wanted(frozenset({content["reads"]}), request["target"], columns)
        layer, task, labels = content["layer"], content["task"], content["labels"]
        keys = load((folder / _LEARNED).read_bytes())["keys"]
    except (KeyError, TypeError, OSError) as error:
        raise BadFile(f"{folder / RECORD} is not the record of a fit.", "Copy it again.") from error
    base = open_base(model or bundle.base_name, layer, device)
    require_base(bundle, base.name, base.fingerprint)
    head = load_head(folder, task, labels, base.fingerprint)
    return Saved(bundle, base, head, content["reads"], wanted, frozenset(keys.tolist()))


def short(key: str) -> int:
    """The first 8 bytes of a content's hash."""
    return int(key[:16], 16)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


_ENDINGS = frozenset({*SUFFIXES, *PICTURES, *TEXTS})


def read_inputs(
    inputs: Sequence[str], saved: Saved, note: Callable[[str], None]
) -> tuple[list[str], list[Item]]:
    """How each input is called, and what it is.

    What has the ending of a table, picture or text, or exists as a file, is a path; a text that
    is one goes in through standard input. `note` is told which columns of a table are read, where
    their names do not say it.

    Raises:
        BadFile: a file is not there or cannot be read.
        BadInput: a file is of a kind that the fit does not read, or there is no input.
    """
    names: list[str] = []
    items: list[Item] = []
    for value in inputs:
        if value == "-":
            lines = sys.stdin.buffer.read().decode("utf-8", "replace").splitlines()
            names += lines
            items += [line if saved.kind == "text" else _file(line, saved) for line in lines]
            continue
        refuse_missing(value, _ENDINGS, _hint(saved))
        exists = os.path.isfile(value)  # noqa: PTH113  a text may be no path that can be asked for
        if exists and Path(value).suffix.lower() in SUFFIXES:
            target = saved.bundle.content["request"]["target"]
            found, places = read_items(value, saved.wanted, target, note)
            items += found
            names += [f"{value}, {place}" for place in places]
            continue
        names.append(value)
        items.append(_file(value, saved) if exists or saved.kind != "text" else value)
    if not items:
        raise BadInput("there is nothing to predict for.", "Give a text, a picture or a table.")
    return names, items


def _file(path: str, saved: Saved) -> Item:
    """One file that is no table."""
    refuse_missing(path, _ENDINGS, _hint(saved))
    exists = os.path.isfile(path)  # noqa: PTH113
    if saved.kind == "image" and exists and is_image_path(path):
        return Picture(path)
    if saved.kind == "text" and Path(path).suffix.lower() in TEXTS:
        text = read_text(Picture(path))
        if isinstance(text, LeftOut):
            raise BadInput(f"{path!r} cannot be used: {text.reason}", "Mend it or leave it out.")
        return text
    kind = "a picture" if is_image_path(path) else "a file of another kind" if exists else "none"
    raise BadInput(
        f"this fit reads {KIND_WORDS[saved.kind]}, and {path!r} is {kind}.", _hint(saved)
    )


def _hint(saved: Saved) -> str:
    tables = f"a table: {' '.join(SUFFIXES)}"
    if saved.kind == "text":
        return f"Give texts, {' or '.join(TEXTS)} files, or {tables}; - reads texts line by line."
    return f"Give {'picture files, or ' if saved.kind == 'image' else ''}{tables}."


TRAINING = "training"
_NAMES = {"best.safetensors", "validations.jsonl"}  # beside those of every training


def training_place(out: Path) -> Path:
    """The folder for the training of a fit; what a version without markers left is taken over.

    Raises:
        BadFile: all names for it are taken.
        NoRoom: the folder cannot be written.
    """
    place = folders.beside(out, TRAINING)
    former = out.with_name(f"{out.name}.{TRAINING}")
    if former.is_dir() and not former.is_symlink() and not place.exists() and is_kept(former):
        folders.claim(former, TRAINING, verify=is_kept)
        former.rename(place)
    return place


def is_kept(folder: Path) -> bool:
    """Whether all in a folder is one training, or several in numbered folders."""
    from ..training.log import is_training
    from ..training.loop import CHECKPOINTS, LOG, PLOT

    names = folders.entries(folder)
    several = [folder / name for name in names if name.isdecimal()]
    if several:
        return len(several) == len(names) and all(is_kept(one) for one in several)
    return {*names} <= {CHECKPOINTS, LOG, PLOT, *_NAMES} and is_training(folder)

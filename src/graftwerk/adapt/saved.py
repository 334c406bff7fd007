"""The folder of a fit, written and read: head, what was learned beside it, and `graft.json`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import files, folders
from ..errors import BadFile
from ..steer.bundle import (
    RECORD,
    Bundle,
    is_replaceable,
    read_bundle,
    require_base,
    write_bundle,
)
from ..steer.head import LinearHead, Scores, Task, load_head
from .base import Advance, Base, open_base
from .columns import Wanted
from .examples import Item, Kind
from .problem import Problem
from .scoring import Score
from .split import balance

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
    ) -> Scores:
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
        "metrics": asdict(made.score),
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

"""What all fitting methods share: model, data, labels, split, and cached features.

Features are computed once and cached by encoder and content.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..adapters.linear_head import HeadScores
from ..cache import cached_folder
from ..data.columns import ColumnChoice, Missing
from ..data.dataset import Examples, Kind
from ..data.load import read_examples
from ..data.tables import AS_FOUND, Reading, is_table
from ..data.targets import (
    Locations,
    Split,
    Targets,
    balance,
    read_targets,
    same_targets,
    split,
    without,
)
from ..errors import BadInput
from ..settings import settings
from ..text_safety import counted, listed
from ..types import HiddenLayer, Monitor, Task, Vectors, report_reading
from .base_model import NO_MODEL, Base, open_base
from .results import DataFacts, Score, ScoreDetails
from .scoring import details, score

_VERSION = 4
_CHUNK = 4_096  # items encoded between two writes
_FILE = "features.npy"


def features_of(base: Base, examples: Examples, monitor: Monitor) -> tuple[Vectors, float]:
    """Return the unit vectors of all items, [n d], memory-mapped from the cache.

    Returns:
        The vectors, and the seconds that it took to compute them originally.
    """
    folder, facts = _cached(base, examples, monitor)
    mapped: Vectors = np.load(folder / _FILE, mmap_mode="r", allow_pickle=False)
    return mapped, float(facts["seconds"])


def _cached(base: Base, examples: Examples, monitor: Monitor) -> tuple[Path, dict[str, Any]]:
    def build(target: Path) -> dict[str, Any]:
        begin = time.perf_counter()
        unusual: list[int] = []
        encode = base.encoder()
        monitor.start("features", len(examples))
        written: np.memmap | None = None
        for start in range(0, len(examples), _CHUNK):
            items = examples.items[start : start + _CHUNK]
            vectors = encode(items, monitor.advance, unusual.append)
            if written is None:
                shape = (len(examples), vectors.shape[1])
                written = np.lib.format.open_memmap(target / _FILE, "w+", np.float32, shape)
            written[start : start + len(vectors)] = vectors
        if written is not None:
            written.flush()
        return {
            "items": len(examples),
            "unfamiliar": sum(unusual),
            "seconds": time.perf_counter() - begin,
        }

    folder = _folder(base, examples)
    return folder, cached_folder(folder, build)


def _folder(base: Base, examples: Examples) -> Path:
    identity = f"{_VERSION} {base.fingerprint} {examples.hash}"
    if examples.converted:  # the same bytes give other features if they are read differently
        identity += f" {listed(examples.converted)}"
    return settings().cache / "features" / hashlib.sha256(identity.encode()).hexdigest()[:32]


_SHOWN = 3  # number of skipped items shown
LEFT_OUT = 100  # maximum number of skipped items in a report


@dataclass(frozen=True, slots=True)
class Source:
    """The data to read and how to split them.

    Attributes:
        data: path of the labeled data.
        test: path of separate test data; None for a share of the data.
        target: column of labels.
        content: columns to read.
        task: type of the labels; None to infer it.
        test_share: share of the data to test on, if `test` is None.
        validation_share: share of the rest.
        seed: seed of split, folds, order and initial weights.
        balanced: whether rare classes have the same weight as common ones.
        reading: the user's settings for reading tables.
        missing: how labels that may stand for a missing value are treated.
        numbers: whether numbers in a table are read, beside its texts or alone.
    """

    data: str
    test: str | None = None
    target: str | None = None
    content: tuple[str, ...] = ()
    task: Task | None = None
    test_share: float = 0.2
    validation_share: float = 0.15
    seed: int = 0
    balanced: bool = False
    reading: Reading = AS_FOUND
    missing: Missing = "ask"
    numbers: bool = False


@dataclass(frozen=True)
class Problem:
    """A model and labeled data, ready to be fitted.

    Attributes:
        source: where the data came from.
        base: the frozen model.
        examples: examples of all parts.
        targets: targets of all parts.
        split: indices of each part.
        leaked: number of training rows dropped because they are among the test data.
        unlearned: number of rows of each class that only the test data have; these are left out.
    """

    source: Source
    base: Base
    examples: Examples
    targets: Targets
    split: Split
    leaked: int = 0
    unlearned: Mapping[str, int] = field(default_factory=dict)

    @property
    def facts(self) -> DataFacts:
        """Description of the data and their split."""
        classes = balance(self.targets, self.split.learned)
        counts = list(classes.values())
        return DataFacts(
            task=self.targets.task,
            train=len(self.split.train),
            validation=len(self.split.validation),
            test=len(self.split.test),
            classes=classes,
            imbalance=counts[0] / max(counts[-1], 1) if counts else None,
            copies=self.split.copies,
            contradictions=self.split.contradictions,
            leaked=self.leaked,
            left_out=list(self.examples.refused[:LEFT_OUT]),
            tables=list(self.examples.tables),
            notes=[*self.examples.notes, *self.targets.notes, *more_left_out(self.examples)],
            converted=dict(self.examples.converted),
            unlearned=dict(self.unlearned),
        )

    def features(self, monitor: Monitor) -> Vectors:
        """Return the features of all examples, from the cache if possible."""
        return features_of(self.base, self.examples, monitor)[0]

    def features_seconds(self, monitor: Monitor) -> float:
        """Return the seconds that it took to compute these features originally."""
        return features_of(self.base, self.examples, monitor)[1]

    def unfamiliar(self, monitor: Monitor) -> int:
        """Return the number of out-of-distribution images, if the model has statistics."""
        if self.examples.kind != "image":
            return 0
        return int(_cached(self.base, self.examples, monitor)[1]["unfamiliar"])  # with the features

    def at_layer(self, layer: HiddenLayer) -> "Problem":
        """Return the same problem on another hidden layer."""
        return replace(self, base=open_base(self.base.name, layer, self.base.device))

    def measure(self, scores: HeadScores, locations: Locations) -> Score:
        """Evaluate scores of the examples at `locations`."""
        return score(scores, self.targets.values[locations], self.targets.task, self.source.seed)

    def details(self, scores: HeadScores, locations: Locations) -> ScoreDetails | None:
        """Return the details of that score; None for numbers."""
        names = [self.examples.names[n] for n in locations.tolist()]
        targets = self.targets
        return details(scores, targets.values[locations], targets.task, targets.labels, names)


def more_left_out(examples: Examples) -> list[str]:
    """Return a note with the number of skipped items, if a report does not list them all."""
    count = len(examples.refused)
    return [f"{counted(count, 'row')} and files were left out"] if count > LEFT_OUT else []


def open_problem(base: Base, source: Source, monitor: Monitor) -> Problem:
    """Read and split the data."""
    rows: frozenset[Kind] = frozenset({"row"} if source.numbers and "text" in base.reads else ())
    reads = base.reads | rows
    requested = ColumnChoice(reads, source.target, source.content, source.reading, source.missing)
    monitor.start("reading")
    examples = read_examples(source.data, requested)
    base = _base_of(base, examples, monitor)
    targets = read_targets(examples, source.task)
    if source.test is None:
        parts = split(examples, targets, source.seed, source.test_share, source.validation_share)
        problem = Problem(source, base, examples, targets, parts)
    else:
        columns = _columns(source, examples)
        numbers = examples.numbers if columns else None
        tested = read_examples(source.test, replace(requested, content=columns, numbers=numbers))
        problem = _with_test(source, base, (examples, targets), tested)
    _tell(problem, monitor)
    return problem


def _base_of(base: Base, examples: Examples, monitor: Monitor) -> Base:
    """Return the model, or none if a table contains nothing that a model could read."""
    if examples.kind != "row" or len(examples.columns) > len(examples.numbers):
        return base
    if base.layer is not None:
        raise BadInput(
            f"{examples.source} holds numbers alone, which no layer of a model reads.",
            "Leave --layer out.",
        )
    monitor.note("no pre-trained model is used: the columns that are read hold numbers alone")
    return open_base(NO_MODEL, None, base.device)


def _columns(source: Source, examples: Examples) -> tuple[str, ...]:
    """Return the columns to read from the test data: those learned from, if both are tables."""
    assert source.test is not None  # noqa: S101  for the type checker
    return examples.columns if is_table(source.test) else ()


def _with_test(
    source: Source, base: Base, learned: tuple[Examples, Targets], tested: Examples
) -> Problem:
    examples, targets = learned
    if tested.kind != examples.kind:
        raise BadInput(
            f"{tested.source} is of another kind than {examples.source}.", "Name others."
        )
    parts = split(examples, targets, source.seed, 0.0, source.validation_share)
    train, validation = (without(p, examples, tested.keys) for p in (parts.train, parts.validation))
    leaked = len(parts.train) + len(parts.validation) - len(train) - len(validation)
    if not len(train):
        raise BadInput(
            f"every example of {examples.source} is among the test data.", "Name other test data."
        )
    tested, known, unlearned = same_targets(tested, targets.task, targets.labels)
    values = np.concatenate([targets.values, known.values])
    test = np.arange(len(examples), len(examples) + len(tested))
    return Problem(
        source,
        base,
        join(examples, tested),
        replace(targets, values=values, notes=(*targets.notes, *known.notes)),
        replace(parts, train=train, validation=validation, test=test),
        leaked,
        unlearned,
    )


def join(first: Examples, second: Examples) -> Examples:
    """Concatenate two data sets."""
    return Examples(
        first.source,
        first.kind,
        [*first.items, *second.items],
        [*first.keys, *second.keys],
        [*first.labels, *second.labels],
        [*first.names, *second.names],
        (*first.refused, *second.refused),
        first.columns or second.columns,
        (*first.notes, *second.notes),
        (*first.tables, *second.tables),
        label_format=first.label_format,
        converted=Counter(first.converted) + Counter(second.converted),
        numbers=first.numbers,
    )


def tell_converted(examples: Examples, monitor: Monitor) -> None:
    """Report the conversions made while reading images."""
    if examples.converted:
        monitor.note(f"images converted in reading: {listed(examples.converted)}")


def _tell(problem: Problem, monitor: Monitor) -> None:
    notes = (*problem.examples.notes, *problem.targets.notes)
    report_reading(problem.examples.tables, notes, monitor)
    tell_converted(problem.examples, monitor)
    refused = problem.examples.refused
    if refused:
        shown = "; ".join(f"{one.name}: {one.reason}" for one in refused[:_SHOWN])
        monitor.note(f"{len(refused)} left out: {shown}{'; ...' if len(refused) > _SHOWN else ''}")
    copies = problem.split.copies
    if copies:
        odd = problem.split.contradictions
        monitor.note(
            f"{counted(copies, 'row is', 'rows are')} copies of others and stay on their side of "
            "the split" + (f"; {odd} of them have another label than their original" if odd else "")
        )
    if problem.leaked:
        monitor.note(
            f"{counted(problem.leaked, 'row is', 'rows are')} among the test data and are not "
            "learned from"
        )

"""Training targets: one class, several labels, or a number per example."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from .. import limits
from ..errors import BadInput, few
from ..results import LeftOut
from ..text_safety import counted
from ..types import Task
from .dataset import Examples
from .labels import looks_like_lists, match_labels, name_labels
from .tables import is_number

Values = Shaped[np.ndarray, "_ ..."]  # class numbers [n], labels 0 or 1 [n k], or numbers [n]
_FEW_NUMBERS = 20  # whole numbers with at most this many distinct values are classes
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Targets:
    """Labels encoded as numbers.

    Attributes:
        task: kind of target.
        labels: names of the classes or labels; empty for numbers.
        values: int64 [n] indices in `labels`; float32 [n k], 1 for a label that holds; float64 [n].
        notes: what was merged or not read literally.
    """

    task: Task
    labels: tuple[str, ...]
    values: Values
    notes: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """Number of outputs of a head."""
        return len(self.labels) or 1


def choose_task(examples: Examples, requested: Task | None) -> Task:
    """Return the requested task, or else the one that the labels suggest.

    Lists are several labels; numbers that are not whole, or of many different values, are numbers;
    all else is classes.
    """
    if requested is not None:
        return requested
    values = examples.numeric_labels()
    if any(isinstance(value, list | tuple) for value in values) or looks_like_lists(values):
        return "labels"
    if not all(is_number(value) for value in values):
        return "class"
    numbers = {float(value) for value in values}
    whole = all(number.is_integer() for number in numbers)
    return "class" if whole and len(numbers) <= _FEW_NUMBERS else "number"


def read_targets(examples: Examples, requested: Task | None) -> Targets:
    """Return the targets of training data.

    Raises:
        BadInput: one class only, a class with one example, numbers that are not finite, too many
            classes, or labels that do not fit the task.
    """
    task = choose_task(examples, requested)
    if task == "number":
        values = _numbers(examples)
        if values.min() == values.max():
            raise BadInput(
                f"all targets of {examples.source} are {values[0]:g}.",
                "Give data with different targets.",
            )
        return Targets(task, (), values, _number_notes(examples))
    several = task == "labels"
    found = name_labels(_name(examples), examples.labels, several)
    labels = tuple(sorted({label for row in found.rows for label in row}))
    _require_classes(examples, found.rows, labels, several)
    return Targets(task, labels, _as_values(found.rows, labels, several), found.notes)


def _name(examples: Examples) -> str:
    return Path(examples.source).name


def _number_notes(examples: Examples) -> tuple[str, ...]:
    written = examples.label_format
    return () if written is None else (f"{_name(examples)}: {written.describe('target')}",)


def same_targets(
    examples: Examples, task: Task, labels: Sequence[str]
) -> tuple[Examples, Targets, dict[str, int]]:
    """Return the targets of other data, encoded with labels that are already known.

    Returns:
        The examples without those that have an unknown label; their targets; how many were left
        out
        for each unknown label.

    Raises:
        BadInput: no label is known, or a number is not finite.
    """
    if task == "number":
        return examples, Targets(task, (), _numbers(examples), _number_notes(examples)), {}
    several = task == "labels"
    found = match_labels(_name(examples), examples.labels, several, labels)
    unknown = [sorted(set(row) - set(labels)) for row in found.rows]
    counts = dict(Counter(label for row in unknown for label in row).most_common())
    if counts and all(unknown):
        raise BadInput(
            f"{examples.source} has only labels that were not learned: {few(map(repr, counts))}.",
            f"Known are: {few(map(repr, labels))}.",
        )
    notes = list(found.notes)
    if counts:
        reasons = [f"{few(map(repr, row))} was not learned." for row in unknown]
        examples = leave_out(
            examples, [why if row else "" for why, row in zip(reasons, unknown, strict=True)]
        )
        shown = ", ".join(f"{label!r} ({count:,})" for label, count in [*counts.items()][:_SHOWN])
        notes.append(
            f"{_name(examples)}: {counted(sum(map(bool, unknown)), 'row has', 'rows have')} labels "
            f"that were not learned and are not scored: {shown}"
        )
    named = [row for row, odd in zip(found.rows, unknown, strict=True) if not odd]
    values = _as_values(named, tuple(labels), several)
    return examples, Targets(task, tuple(labels), values, tuple(notes)), counts


def leave_out(examples: Examples, reasons: Sequence[str]) -> Examples:
    """Return the examples with an empty reason; the others are added to `refused`."""
    retained = [n for n, reason in enumerate(reasons) if not reason]
    odd = [LeftOut(name=examples.names[n], reason=why) for n, why in enumerate(reasons) if why]
    return replace(
        examples,
        items=[examples.items[n] for n in retained],
        keys=[examples.keys[n] for n in retained],
        labels=[examples.labels[n] for n in retained],
        names=[examples.names[n] for n in retained],
        refused=(*examples.refused, *odd),
    )


def _as_values(named: Sequence[Sequence[str]], labels: Sequence[str], several: bool) -> Values:
    location = {label: number for number, label in enumerate(labels)}
    if not several:
        return np.array([location[row[0]] for row in named], dtype=np.int64)
    values = np.zeros((len(named), len(labels)), dtype=np.float32)
    for number, row in enumerate(named):
        values[number, [location[label] for label in row]] = 1
    return values


def _numbers(examples: Examples) -> Float64[np.ndarray, " n"]:
    values = np.empty(len(examples), dtype=np.float64)
    labels = zip(examples.numeric_labels(), examples.names, strict=True)
    for location, (value, name) in enumerate(labels):
        if not is_number(value) or not math.isfinite(float(value)):
            raise BadInput(
                f"the target in {name} is {value!r}, which is not a finite number.",
                "Fix or remove such rows, or fit classes with --task class.",
            )
        values[location] = float(value)
    return values


def _require_classes(
    examples: Examples, named: Sequence[Sequence[str]], labels: Sequence[str], several: bool
) -> None:
    if len(labels) < 2 and not several:
        raise BadInput(
            f"{examples.source} has one class only, {labels[0]!r}.",
            "Give examples of at least two classes.",
        )
    if len(labels) > limits.CLASSES or len(labels) > max(2, len(named) // 2):
        raise BadInput(
            f"the labels of {examples.source} have {len(labels):,} different values in "
            f"{counted(len(named), 'row')}, among them {few(map(repr, labels))}: these are hardly "
            "classes.",
            "Pass another column with --target, or numbers with --task number.",
        )
    contents: dict[str, set[str]] = {label: set() for label in labels}
    for row, key in zip(named, examples.keys, strict=True):
        for label in row:
            contents[label].add(key)
    for label, different in contents.items():
        if len(different) < 2:
            raise BadInput(
                f"{label!r} has one example only in {examples.source}.",
                "Give at least two different ones, to learn from and to test on, or leave it out.",
            )


Locations = Int64[np.ndarray, " _"]


@dataclass(frozen=True, slots=True)
class Split:
    """Row indices of each part of a split.

    Attributes:
        train: rows to train on.
        validation: rows for early stopping and for choosing among several trained models.
        test: rows for evaluation only; empty if other data are the test set.
        copies: number of rows whose content is that of an earlier row.
        contradictions: number of these with another label than the earlier row.
    """

    train: Locations
    validation: Locations
    test: Locations
    copies: int = 0
    contradictions: int = 0

    @property
    def learned(self) -> Locations:
        """Training and validation rows together."""
        return np.sort(np.concatenate([self.train, self.validation]))


def split(examples: Examples, targets: Targets, seed: int, test: float, validation: float) -> Split:
    """Split the rows, stratified by class.

    Args:
        examples: the rows.
        targets: their labels; numbers are treated as one class.
        seed: another seed gives another split.
        test: share of the distinct contents to test on, 0 to below 1.
        validation: share of the others to validate on.
    """
    first: dict[str, int] = {}
    for location, key in enumerate(examples.keys):
        first.setdefault(key, location)
    apart = targets.task != "number"
    strata = [str(value) if apart else "" for value in targets.values.tolist()]
    groups: dict[str, list[str]] = {}
    for key, location in first.items():
        groups.setdefault(strata[location], []).append(key)
    part_of: dict[str, int] = {}
    for keys in groups.values():
        keys.sort(key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
        tested = _share(len(keys), test)
        validated = _share(len(keys) - tested, validation)
        for number, key in enumerate(keys):
            part_of[key] = 2 if number < tested else 1 if number < tested + validated else 0
    parts = np.array([part_of[key] for key in examples.keys], dtype=np.int64)
    same = [np.array_equal(targets.values[first[k]], targets.values[location])
            for location, k in enumerate(examples.keys)]  # fmt: skip
    train, validated_rows, tested_rows = (np.flatnonzero(parts == number) for number in range(3))
    copies = len(examples) - len(first)
    return Split(train, validated_rows, tested_rows, copies, same.count(False))


def without(part: Locations, examples: Examples, keys: Sequence[str]) -> Locations:
    """Return the rows of a part whose content is not among `keys`."""
    known = set(keys)
    return np.array([n for n in part.tolist() if examples.keys[n] not in known], dtype=np.int64)


def balance(targets: Targets, locations: Locations) -> dict[str, int]:
    """Return the number of examples of each class or label among these rows, most first."""
    if targets.task == "number":
        return {}
    values = targets.values[locations]
    if targets.task == "labels":
        counts = {label: int(values[:, n].sum()) for n, label in enumerate(targets.labels)}
    else:
        found = Counter(values.tolist())
        counts = {label: found[n] for n, label in enumerate(targets.labels)}
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def _share(count: int, share: float) -> int:
    """Return a share of `count`, rounded: at least one of two or more, and never all.

    0 if the share is 0.
    """
    if share <= 0 or count < 2:
        return 0
    return min(max(1, round(count * share)), count - 1)

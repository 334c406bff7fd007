"""A split into training, validation and test that depends on contents and seed alone.

A row goes where the hash of its content puts it within its class, so neither the order of the
rows nor rows that are added later move it far, and copies always stay together.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from .dataset import Examples
from .targets import Targets

Places = Int64[np.ndarray, " _"]


@dataclass(frozen=True, slots=True)
class Split:
    """Places of the rows of each part.

    Attributes:
        train: rows that are learned from.
        validation: rows that stop a training and choose among several.
        test: rows that are only measured on; empty where other data are tested on.
        copies: rows whose content is that of an earlier row.
        contradictions: of these, the ones with another label than the earlier row.
    """

    train: Places
    validation: Places
    test: Places
    copies: int = 0
    contradictions: int = 0

    @property
    def learned(self) -> Places:
        """Training and validation together."""
        return np.sort(np.concatenate([self.train, self.validation]))


def split(examples: Examples, targets: Targets, seed: int, test: float, validation: float) -> Split:
    """Share the rows out, class by class.

    Args:
        examples: the rows.
        targets: their labels; numbers are shared out as one class.
        seed: another one gives another split.
        test: share of different contents to test on, 0 to below 1.
        validation: share of the others to validate on.
    """
    first: dict[str, int] = {}
    for place, key in enumerate(examples.keys):
        first.setdefault(key, place)
    strata = _strata(targets)
    groups: dict[str, list[str]] = {}
    for key, place in first.items():
        groups.setdefault(strata[place], []).append(key)
    part_of: dict[str, int] = {}
    for keys in groups.values():
        keys.sort(key=lambda key: hashlib.sha256(f"{seed} {key}".encode()).digest())
        tested = _share(len(keys), test)
        validated = _share(len(keys) - tested, validation)
        for number, key in enumerate(keys):
            part_of[key] = 2 if number < tested else 1 if number < tested + validated else 0
    parts = np.array([part_of[key] for key in examples.keys], dtype=np.int64)
    same = [np.array_equal(targets.values[first[k]], targets.values[place])
            for place, k in enumerate(examples.keys)]  # fmt: skip
    train, validated_rows, tested_rows = (np.flatnonzero(parts == number) for number in range(3))
    copies = len(examples) - len(first)
    return Split(train, validated_rows, tested_rows, copies, same.count(False))


def without(part: Places, examples: Examples, keys: Sequence[str]) -> Places:
    """Those rows of a part whose content is not among `keys`."""
    known = set(keys)
    return np.array([n for n in part.tolist() if examples.keys[n] not in known], dtype=np.int64)


def balance(targets: Targets, places: Places) -> dict[str, int]:
    """Examples of each class or label among these rows, most first."""
    if targets.task == "number":
        return {}
    values = targets.values[places]
    if targets.task == "labels":
        counts = {label: int(values[:, n].sum()) for n, label in enumerate(targets.labels)}
    else:
        found = Counter(values.tolist())
        counts = {label: found[n] for n, label in enumerate(targets.labels)}
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def _strata(targets: Targets) -> list[str]:
    if targets.task == "number":
        return [""] * len(targets.values)
    return [str(value) for value in targets.values.tolist()]


def _share(count: int, share: float) -> int:
    """So many of `count`: at least one where there are two, and never all."""
    if share <= 0 or count < 2:
        return 0
    return min(max(1, round(count * share)), count - 1)

"""A linear head on a frozen model's features.

A frozen encoder knows nothing about user-defined classes: its scores are all zero, which is the
uniform distribution. The head adds `W f + b` to them; the features are passed through unchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from .. import files
from ..errors import BadFile
from ..types import Task, Vectors

HeadScores = Float32[np.ndarray, "n k"]
WEIGHTS = "head.safetensors"


@dataclass(frozen=True, slots=True)
class Opinion:
    """Features and scores of some items.

    Attributes:
        features: of the frozen model, [n d].
        scores: one column per class or label, before softmax or sigmoid; or one number per item.
    """

    features: Vectors
    scores: HeadScores


@dataclass(frozen=True)
class LinearHead:
    """A linear head.

    Attributes:
        weight: float32 [k d].
        bias: float32 [k].
        task: `class` (one of the labels), `labels` (any number of them) or `number`.
        labels: names of the classes or labels; empty for a number.
        base: fingerprint of the frozen model.
        scale: factor of the added scores; at 0 nothing is added.
    """

    weight: Float32[np.ndarray, "k d"]
    bias: Float32[np.ndarray, " k"]
    task: Task
    labels: tuple[str, ...]
    base: str
    scale: float = 1.0

    @property
    def is_zero(self) -> bool:
        """Whether the head adds nothing."""
        return self.scale == 0 or not (self.weight.any() or self.bias.any())

    def score(self, features: Vectors) -> HeadScores:
        """Return the scores that the head adds for these features, [n k]; exactly 0 at zero."""
        if self.is_zero:
            return np.zeros((len(features), len(self.bias)), dtype=np.float32)
        added: HeadScores = features @ self.weight.T + self.bias
        return added * np.float32(self.scale)

    def save(self, folder: Path) -> None:
        """Write the head's weights into a working folder."""
        from safetensors.numpy import save

        tensors = {"weight": self.weight, "bias": self.bias}
        content = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
        files.write_plain(folder / WEIGHTS, content)


def load_head(folder: Path, task: Task, labels: Sequence[str], base: str) -> LinearHead:
    """Load a head from a folder that `manifest.read_bundle` has checked.

    Raises:
        BadFile: its weights are missing or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load((folder / WEIGHTS).read_bytes())
        weight, bias = tensors["weight"], tensors["bias"]
    except (OSError, KeyError, SafetensorError) as error:
        raise BadFile(f"{folder} has no {WEIGHTS} that can be read.", "Copy it again.") from error
    if weight.ndim != 2 or bias.shape != weight.shape[:1] or len(bias) != (len(labels) or 1):
        raise BadFile(f"{folder / WEIGHTS} does not fit its labels.", "Copy the folder again.")
    return LinearHead(weight, bias, task, tuple(labels), base)


def probabilities(scores: Float[np.ndarray, "n k"], task: Task) -> Float[np.ndarray, "n k"]:
    """Convert scores to probabilities: softmax for classes, sigmoid for labels.

    Scores of the task `number` are returned unchanged.
    """
    if task == "number":
        return scores
    if task == "labels":
        return 0.5 * (1 + np.tanh(0.5 * scores))
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances: np.ndarray = shifted / shifted.sum(axis=1, keepdims=True)
    return chances

"""A linear head on a frozen model's features, exported to scikit-learn or ONNX too.

A frozen encoder knows nothing about user-defined classes: its scores are all zero, which is the
uniform distribution. The head adds `W f + b` to them; the features are passed through unchanged.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


_OPSET, _IR = 17, 8  # of ONNX 1.12 (2022), for old runtimes


def to_sklearn(head: LinearHead, classes: Any = None) -> Any:
    """Return the head as a fitted scikit-learn estimator.

    It is a `LogisticRegression` for classes, a `OneVsRestClassifier` with one of them per label
    for several labels, and a `Ridge` for a number.

    Args:
        head: the head.
        classes: the user's own values, in the order of the head's labels; None for the label names.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import LabelBinarizer

    weight = head.weight.astype(np.float64) * head.scale
    bias = head.bias.astype(np.float64) * head.scale

    def logistic(weight: Any, bias: Any, classes: Any) -> Any:
        return _with(LogisticRegression(), weight, bias, classes_=np.asarray(classes))

    if head.task == "number":
        return _with(Ridge(), weight[0], float(bias[0]))
    if head.task == "labels":
        each = [logistic(weight[n : n + 1], bias[n : n + 1], [0, 1]) for n in range(len(bias))]
        several = OneVsRestClassifier(LogisticRegression())
        several.estimators_, several.n_features_in_ = each, weight.shape[1]
        several.label_binarizer_ = LabelBinarizer().fit(np.eye(max(len(bias), 2), dtype=int))
        return several
    names = head.labels if classes is None else classes
    if len(bias) == 2:  # scikit-learn has one row: second class against first
        return logistic(weight[1:] - weight[:1], bias[1:] - bias[:1], names)
    return logistic(weight, bias, names)


def _with(model: Any, weight: Any, bias: Any, **attributes: Any) -> Any:
    """Set the attributes of a fitted model on an unfitted one."""
    model.coef_, model.intercept_, model.n_features_in_ = weight, bias, weight.shape[-1]
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def to_onnx(head: LinearHead, base: str) -> bytes:
    """Return the head as a serialized ONNX graph.

    Its input is `features` [n d]. Its outputs are `probabilities` and `label`, or `value` [n] for
    a number.

    Args:
        head: the head.
        base: name of the frozen model, for the metadata.
    """
    from onnx import TensorProto, helper, numpy_helper

    scale = np.float32(head.scale)
    count, width = head.weight.shape
    constants = {"weight": head.weight * scale, "bias": head.bias * scale}
    nodes = [helper.make_node("Gemm", ["features", "weight", "bias"], ["scores"], transB=1)]
    value = helper.make_tensor_value_info
    outputs = []
    if head.task == "number":
        constants["columns"] = np.array([1], dtype=np.int64)
        nodes.append(helper.make_node("Squeeze", ["scores", "columns"], ["value"]))
        outputs.append(value("value", TensorProto.FLOAT, ["n"]))
    else:
        several = head.task == "labels"
        # over the last axis, the default of Softmax
        name = "Sigmoid" if several else "Softmax"
        nodes.append(helper.make_node(name, ["scores"], ["probabilities"]))
        outputs.append(value("probabilities", TensorProto.FLOAT, ["n", count]))
        if several:
            constants["half"] = np.array(0.5, dtype=np.float32)
            nodes.append(helper.make_node("Greater", ["probabilities", "half"], ["label"]))
            outputs.append(value("label", TensorProto.BOOL, ["n", count]))
        else:
            constants["names"] = np.array(head.labels, dtype=object)
            nodes.append(helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0))
            nodes.append(helper.make_node("Gather", ["names", "best"], ["label"]))
            outputs.append(value("label", TensorProto.STRING, ["n"]))
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    features = value("features", TensorProto.FLOAT, ["n", width])
    graph = helper.make_graph(nodes, "head", [features], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version, model.producer_name = _IR, "graftwerk"
    known = {"task": head.task, "labels": list(head.labels), "base": base, "fingerprint": head.base}
    helper.set_model_props(model, {name: _text(one) for name, one in known.items()})
    content: bytes = model.SerializeToString()
    return content


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)

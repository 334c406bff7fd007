"""Export a linear head to other tools: a scikit-learn estimator or an ONNX graph.

Both have the same input as the head, the features of the frozen model, and do not depend on this
package.
"""

import json
from typing import Any

import numpy as np

from .linear_head import LinearHead

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

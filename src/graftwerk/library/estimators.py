"""`Classifier` and `Regressor`: scikit-learn estimators on a frozen pre-trained model.

    clf = Classifier("builtin/minilm").fit(texts, labels)
    clf.predict(["Fed raises rates"])
    clf.save("topics")
    load("topics").predict(["Fed raises rates"])

They follow scikit-learn's conventions (`clone`, `GridSearchCV`, ...); for `X` see `data.arrays`.
"""

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float, Float64
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import NotFittedError

from .. import files
from ..adapters.linear_head import Opinion, probabilities, to_onnx, to_sklearn
from ..data import arrays
from ..data.columns import KIND_WORDS
from ..data.dataset import Examples, Item, Kind, Row, key_of
from ..data.labels import label_text
from ..data.targets import Targets, split
from ..errors import BadInput, finite
from ..finetune.base_model import Base
from ..finetune.problem import Problem
from ..finetune.saved import (
    FittedModel,
    Saved,
    Unsaved,
    copy_fit,
    describe_fit,
    open_fit,
    require_saved,
)
from ..folders import contents
from ..models.hub import named_by_user
from ..requests.base import checked, given_path
from ..requests.finetune import Fit
from ..text_safety import counted
from ..types import HiddenLayer, Silent
from .fitting import fit_problem, note_data, note_out_of_distribution, posed, source_of

if TYPE_CHECKING:
    from ..finetune.results import Trial
    from ..requests.base import Device
    from .policy import Policy


_LABEL_TYPE = "label_type"  # in `graft.json`, if classes are not strings
_AS_TYPE: Mapping[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": lambda text: text == "True",
}


class NotFitted(BadInput, NotFittedError):  # type: ignore[misc]
    """The estimator has not been fitted yet."""


class _Warning(Silent):
    """A monitor that turns notes into warnings."""

    def note(self, text: str) -> None:
        """Warn."""
        warnings.warn(text, UserWarning, stacklevel=5)


def _width(items: Sequence[Item]) -> int:
    first = items[0]
    return len(first.numbers if isinstance(first, Row) else np.asarray(first))


class _Fitting(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Base class of `Classifier` and `Regressor`.

    Args:
        model: the folder of an encoder, a hub id `owner/name@revision`, `none` for arrays of
            numbers, without a pre-trained model, or None: `builtin/minilm`, and for photographs
            `imagenet` if it was fetched.
        method: `linear` (a head on frozen features), `lora`, `full` (all weights), or `auto`:
            the cheapest method that is as good as the best within `minutes`.
        layer: hidden layer to use instead of the last (0: embeddings); `all`, concatenated; or
            `multiscale`, all of an image and of the image at half its size. A model of images
            only uses `multiscale`, or `all` for transformers, unless `top` is given.
        balance: whether rare classes get as much weight as common ones.
        sweep: try every hidden layer, and these together, and select the best (linear).
        scale: factor of everything that was learned; 0 gives the frozen model, which prefers no
            class. It may be changed after fitting.
        rank: rank of LoRA's update of each matrix.
        alpha: LoRA's scale is `alpha / rank`.
        dropout: dropout of LoRA's input during training.
        lora_plus: learning rate of LoRA's B relative to that of its A.
        targets: suffixes of the names of layers with LoRA; None for attention and MLP projections.
        top: number of last layers to train; None for all.
        epochs: maximum number of passes over the data.
        batch: examples per step.
        learning_rate: maximum learning rate; None for 5e-4 with LoRA and 5e-5 with full.
        rates: number of learning rates that `auto` tries.
        patience: validations without a better score before training stops.
        minutes: time limit of `auto`.
        validation_share: share of the data to stop and select by; linear trains on it too.
        seed: random seed.
        device: `auto`, `cpu`, `cuda` or `mps`.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        method: str = "linear",
        layer: HiddenLayer = None,
        balance: bool = False,
        sweep: bool = False,
        scale: int | float = 1.0,
        rank: int = 8,
        alpha: int | float = 16.0,
        dropout: int | float = 0.0,
        lora_plus: int | float = 1.0,
        targets: Sequence[str] | None = None,
        top: int | None = None,
        epochs: int | float = 6.0,
        batch: int = 32,
        learning_rate: int | float | None = None,
        rates: int = 1,
        patience: int = 4,
        minutes: int | float = 10.0,
        validation_share: int | float = 0.15,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        self.model, self.method, self.layer = model, method, layer
        self.balance, self.sweep, self.scale = balance, sweep, scale
        self.rank, self.alpha, self.dropout, self.lora_plus = rank, alpha, dropout, lora_plus
        self.targets, self.top, self.epochs, self.batch = targets, top, epochs, batch
        self.learning_rate, self.rates, self.patience = learning_rate, rates, patience
        self.minutes, self.validation_share = minutes, validation_share
        self.seed, self.device = seed, device

    def features(self, X: Any) -> Float[np.ndarray, "n d"]:
        """Return the unit vectors that the head reads, from the frozen or tuned model.

        Raises:
            BadInput: not fitted yet, or `X` cannot be read.
        """
        return self._judge(X).features

    def save(self, path: str | Path) -> None:
        """Save the fit to a folder for `load`, `graft predict` and `graft eval fit`.

        Raises:
            BadFile: the folder contains something else.
            NoRoom: it cannot be written.
        """
        out = given_path(path).absolute()
        self._fitted()
        if self._unsaved is not None:
            self._unsaved.save(out)
        else:
            copy_fit(self._bundle, out)

    def to_sklearn(self) -> Any:
        """Return the head as a fitted `LogisticRegression` or `Ridge` of scikit-learn.

        It reads `features(X)` and gives the same predictions as this object, without any pickle.

        Raises:
            BadInput: not fitted yet.
        """
        head = replace(self._fitted().head, scale=self._scale())
        return to_sklearn(head, getattr(self, "classes_", None))

    def to_onnx(self, path: str | Path) -> None:
        """Write the head as an ONNX graph, from `features(X)` to probabilities and labels.

        Raises:
            BadInput: not fitted yet.
            NoRoom: the file cannot be written.
        """
        model = self._fitted()
        content = to_onnx(replace(model.head, scale=self._scale()), model.base.name)
        files.write_bytes(given_path(path), content)

    def _fit(self, X: Any, make_targets: Callable[[int], tuple[Targets, Sequence[Any]]]) -> None:
        """Fit to items; `make_targets` gets their number and returns targets and labels."""
        request = self._request()
        columns = arrays.columns_of(X)
        rows: frozenset[Kind] = frozenset({"row"} if request.how == "linear" else ())

        def pose(base: Base) -> Problem:
            kind, items = arrays.read_mixed(X, columns, base.reads | rows, base.reads)
            targets, labels = make_targets(len(items))
            names = [f"X[{number}]" for number in range(len(items))]
            examples = Examples("X", kind, items, [key_of(item) for item in items], labels, names)
            if columns is not None and kind in {"row", "text"}:
                examples = replace(examples, columns=columns.names, numbers=columns.numbers)
            elif kind == "row":
                names = [f"X[:, {n}]" for n in range(_width(items))]
                examples = replace(examples, columns=tuple(names), numbers=tuple(names))
            source = replace(source_of(request), task=targets.task)
            parts = split(examples, targets, request.seed, 0.0, request.validation_share)
            return Problem(source, base, examples, targets, parts)

        with named_by_user([request.model]):
            problem = posed(request, pose, _Warning())
        base, examples = problem.base, problem.examples
        note_data(problem, _Warning())
        # keeps a reference, so that features and predictions share one encoder
        frozen = base.encoder() if request.how == "linear" and not request.sweep else None
        unusual = problem.unfamiliar(Silent())
        note_out_of_distribution(unusual, len(examples), base.name, _Warning())
        with tempfile.TemporaryDirectory(prefix="graftwerk-") as folder:
            training = Path(folder) / "training"
            problem, made, tried = fit_problem(problem, request, training, Silent())
        model = FittedModel(made.how, problem.base, made.head, examples.kind, made.open_encoder)
        model.load()
        del frozen
        self._learned(model, tried, examples.items, columns)
        self._unsaved: Unsaved | None = describe_fit(problem, made)

    def _learned(
        self,
        model: FittedModel,
        tried: "Sequence[Trial]",
        items: Sequence[Item] = (),
        columns: arrays.Columns | None = None,
    ) -> None:
        self._model = model
        self.method_ = model.how
        self.tried_ = list(tried)
        self._columns = columns
        if columns is not None:
            self.feature_names_in_ = np.array(columns.names, dtype=object)
            self.n_features_in_ = len(columns.names)
        elif model.kind in {"series", "row"} and items:
            self.n_features_in_ = _width(items)

    def _fitted(self) -> FittedModel:
        model: FittedModel | None = getattr(self, "_model", None)
        if model is None:
            raise NotFitted(
                f"this {type(self).__name__} is not fitted yet.", "Call fit(X, y), or load one."
            )
        return model

    def _judge(self, X: Any) -> Opinion:
        model = self._fitted()
        columns = arrays.matching_columns(X, self._columns)
        rows: frozenset[Kind] = frozenset({"row"} if model.kind == "row" else ())
        kind, items = arrays.read_mixed(X, columns, model.base.reads | rows, model.base.reads)
        if kind != model.kind:
            raise BadInput(
                f"X holds {KIND_WORDS[kind]}, and this fit reads {KIND_WORDS[model.kind]}.",
                f"Pass {KIND_WORDS[model.kind]}.",
            )
        read = model.head.weight.shape[1] // 2
        if kind == "row" and columns is None and _width(items) != read:
            raise BadInput(
                f"X has {counted(_width(items), 'column')}, and this fit reads {read}.",
                "Pass the columns that it was fitted on.",
            )
        unusual: list[int] = []
        opinion = model.judge(items, lambda _: None, unusual.append, self._scale())
        note_out_of_distribution(sum(unusual), len(items), model.base.name, _Warning())
        return opinion

    def _scale(self) -> float:
        hint = f"Of a {type(self).__name__}: 1 is what was learned, 0 the frozen model."
        return finite("scale", self.scale, hint)

    def _request(self) -> Fit:
        values = {**self.get_params(deep=False), "how": self.method}
        for name in ("method", "scale", *(["model"] if self.model is None else [])):
            values.pop(name)
        values["targets"] = list(self.targets or [])
        values |= {"data": "X", "out": Path("fit")}
        return checked(Fit, **values, hint="Change it with set_params.", names={"how": "method"})

    def _restore(self, saved: Saved) -> None:
        names, numbers = saved.requested.content, saved.requested.numbers or ()
        given = names and saved.kind in {"row", "text"} and names[0] != "X[:, 0]"
        self._learned(saved.model, (), (), arrays.Columns(names, numbers) if given else None)
        self._unsaved, self._bundle = None, saved.bundle

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        return tags


class Classifier(ClassifierMixin, _Fitting):  # type: ignore[misc]
    """Classifier on a pre-trained model, for classes or labels of your own.

    `y` contains one class per item: strings, integers or booleans. Or it contains any number of
    labels per item, as lists of strings or an array of 0 and 1, [n k]; then `predict` returns an
    array of 0 and 1, with one column for each of `classes_`.

    >>> import graftwerk as gw
    >>> texts = ["a late goal", "a win at home", "shares fell", "rates rose"] * 3
    >>> clf = gw.Classifier("builtin/minilm").fit(texts, ["sport", "sport", "money", "money"] * 3)
    >>> clf.predict(["two goals"]).tolist()
    ['sport']

    Attributes:
        classes_: the classes, in the order of the columns of `predict_proba`.
        method_: `linear`, `lora` or `full`.
        tried_: settings that a sweep or `auto` tried, with their scores.
    """

    __doc__ += _Fitting.__doc__[_Fitting.__doc__.index("\n    Args:") :]  # type: ignore[index, union-attr]

    def fit(self, X: Any, y: Any) -> "Classifier":
        """Fit the model to predict `y` from `X`.

        Raises:
            BadInput: `X` and `y` differ in length, hold one class, nothing, mixed kinds or NaN, or
                the model does not read `X`.
            Diverged: the loss of a training is no longer finite.
        """
        found: list[Any] = []

        def make_targets(count: int) -> tuple[Targets, Sequence[Any]]:
            labels = arrays.read_labels(y, count)
            found[:], targets = arrays.classes_of(labels)
            return targets, labels

        self._fit(X, make_targets)
        self.classes_ = np.array(found)
        if self._unsaved is not None and self.classes_.dtype.kind != "U":
            content = {**self._unsaved.content, _LABEL_TYPE: type(found[0]).__name__}
            self._unsaved = replace(self._unsaved, content=content)
        return self

    def predict(self, X: Any) -> Any:
        """Return the class of each item, [n]; for labels an array of 0 and 1, [n k].

        Raises:
            BadInput: not fitted yet, or `X` cannot be read.
        """
        return self._decide(self._judge(X))

    def predict_proba(self, X: Any) -> Float64[np.ndarray, "n k"]:
        """Return the probability of each of `classes_`; labels have independent ones.

        Raises:
            BadInput: not fitted yet, or `X` cannot be read.
        """
        scores = self._judge(X).scores.astype(np.float64)
        return probabilities(scores, self._fitted().task)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy; for labels the share of items whose labels are all correct.

        Raises:
            BadInput: not fitted yet, `X` or `y` cannot be read, or no label of `y` was learned.
        """
        opinion = self._judge(X)
        labels = arrays.read_labels(y, len(opinion.scores))
        location = {label_text(one): number for number, one in enumerate(self.classes_.tolist())}
        several = self._fitted().task == "labels"
        named = [arrays.labels_in(one, several) for one in labels]
        if labels and not any(name in location for row in named for name in row):
            shown = ", ".join(sorted({repr(name) for row in named for name in row})[:3])
            raise BadInput(
                f"no label of y was learned, for example {shown}.",
                f"Learned were {', '.join(map(repr, location))}.",
            )
        if several:
            truth = np.zeros((len(named), len(location)), dtype=np.int64)
            unknown = np.array([any(name not in location for name in row) for row in named])
            for number, row in enumerate(named):
                truth[number, [location[name] for name in row if name in location]] = 1
            right = (self._decide(opinion) == truth).all(axis=1) & ~unknown
        else:
            right = opinion.scores.argmax(axis=1) == [location.get(row[0], -1) for row in named]
        return float(np.average(right, weights=sample_weight))

    def _decide(self, opinion: Opinion) -> Any:
        if self._fitted().task == "labels":
            return (opinion.scores > 0).astype(np.int64)
        return self.classes_[opinion.scores.argmax(axis=1)]

    def _restore(self, saved: Saved) -> None:
        as_type = _AS_TYPE.get(saved.bundle.content.get(_LABEL_TYPE, "str"), str)
        self.classes_ = np.array([as_type(label) for label in saved.head.labels])
        super()._restore(saved)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class Regressor(RegressorMixin, _Fitting):  # type: ignore[misc]
    """Regressor on a pre-trained model, for numbers of your own.

    >>> import graftwerk as gw
    >>> texts = ["a late goal", "a win at home", "shares fell", "rates rose"] * 3
    >>> gw.Regressor("builtin/minilm").fit(texts, [0.0, 0.0, 1.0, 1.0] * 3).predict(texts).shape
    (12,)

    Attributes:
        method_: `linear`, `lora` or `full`.
        tried_: settings that a sweep or `auto` tried, with their scores.
    """

    __doc__ += _Fitting.__doc__[_Fitting.__doc__.index("\n    Args:") :]  # type: ignore[index, union-attr]

    def fit(self, X: Any, y: Any) -> "Regressor":
        """Fit the model to predict `y` from `X`.

        Raises:
            BadInput: `X` and `y` differ in length, are empty, hold mixed kinds or anything but
                finite numbers, or the model does not read `X`.
            Diverged: the loss of a training is no longer finite.
        """

        def make_targets(count: int) -> tuple[Targets, Sequence[Any]]:
            labels = arrays.read_labels(y, count)
            return Targets("number", (), arrays.numbers_of(labels)), labels

        self._fit(X, make_targets)
        return self

    def predict(self, X: Any) -> Float64[np.ndarray, " n"]:
        """Return the predicted number of each item.

        Raises:
            BadInput: not fitted yet, or `X` cannot be read.
        """
        return self._judge(X).scores[:, 0].astype(np.float64)


def load(
    path: str | Path, *, model: str | Path | None = None, device: str = "auto"
) -> "Classifier | Regressor | Policy":
    """Load a fit saved by `Classifier.save`, `Regressor.save`, `Policy.save` or `graft fit`.

    >>> import graftwerk as gw
    >>> gw.load("nowhere")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graftwerk.errors.BadFile: ...nowhere contains no graft.json, so it is not a saved fit. ...

    Args:
        path: folder of the fit.
        model: current path of the frozen model, if it was moved.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        BadFile: it is not a fit, or the frozen model does not exist.
        BadInput: graftwerk saved something else there; the message says what opens it.
        WrongBase: the frozen model is another one.
        Damaged: a file does not match its checksum.
    """
    folder = given_path(path).absolute()
    if "robot policy" in (contents(folder) or ("",))[0]:
        from .policy import Policy

        return Policy(str(folder), device=cast("Device", device))
    require_saved(folder)
    named = None if model is None else str(model)
    with named_by_user([] if named is None else [named]):
        saved = open_fit(folder, named, device)
    request: Mapping[str, Any] = saved.bundle.content["request"]
    estimator = Regressor if saved.task == "number" else Classifier
    made: Classifier | Regressor = estimator(
        saved.base.name,
        method=saved.model.how,
        layer=saved.base.layer,
        balance=bool(request.get("balanced", False)),
        validation_share=float(request.get("validation_share", 0.15)),
        seed=int(request.get("seed", 0)),
        device=device,
    )
    settings: Mapping[str, Any] = saved.bundle.content.get("settings", {})
    known = {n: v for n, v in settings.items() if n in made.get_params() and n != "targets"}
    made.set_params(**known)
    made._restore(saved)
    return made

"""Fit a model to labeled data; shared by the public objects and `graft fit`."""

import io
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files, folders
from ..adapters.manifest import files_of, require_base
from ..data.tables import is_table, reading_of
from ..errors import BadInput, Diverged
from ..finetune.base_model import Base, open_base
from ..finetune.methods import has_network, make_linear, make_tuned, sweep_layers
from ..finetune.problem import Problem, Source, open_problem
from ..finetune.results import FitComparison, Method, Trial
from ..finetune.saved import KINDS, TRAINING, Made, is_retained, open_fit
from ..finetune.scoring import Settings
from ..models.checkpoint import open_folder
from ..models.encoders import suited_encoder
from ..models.fetching import PHOTOGRAPHS, offer
from ..models.hub import named_by_user
from ..models.image_encoder import reads_two_sizes
from ..requests.base import checked
from ..requests.finetune import Compare, Fit
from ..text_safety import counted
from ..types import Monitor, Silent

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..adapters.linear_head import LinearHead
    from ..finetune.compare import PriorTask
    from ..finetune.scoring import Settings


_LORA_RATE, _FULL_RATE = 5e-4, 5e-5
_FEW_TESTS = 20
_MINUTES, _FEW_MINUTES = 10.0, 2.0  # of auto, and of auto where no method is named
_FEW_VALIDATED = 30  # validation examples, below which a choice by them is by chance


def problem_of(request: Fit | Compare, monitor: Monitor) -> Problem:
    """Load the model and the data of a request.

    Raises:
        BadInput: data, labels or model cannot be used.
    """
    problem = posed(request, lambda base: open_problem(base, source_of(request), monitor), monitor)
    base = problem.base
    note_data(problem, monitor)
    if request.test is not None and "test_share" in request.model_fields_set:
        monitor.note("no effect beside --test: --test-share")
    facts = problem.facts
    if facts.test < _FEW_TESTS:
        monitor.note(
            f"only {counted(facts.test, 'test example')}: the score is unreliable; give more data, "
            "or --test"
        )
    note_out_of_distribution(problem.unfamiliar(monitor), len(problem.examples), base.name, monitor)
    return problem


def posed(request: Fit | Compare, pose: Callable[[Base], Problem], monitor: Monitor) -> Problem:
    """Pose a problem with the model of a request, or photographs with theirs if none is named."""
    try:
        return pose(base_of(request))
    except BadInput:
        if "model" not in request.model_fields_set:
            with suppress(BadInput):  # not fetched, or of no use there either
                problem = pose(base_of(request.model_copy(update={"model": PHOTOGRAPHS})))
                if suited_encoder(request, problem.examples.items, monitor, "model") == PHOTOGRAPHS:
                    return problem
        raise


def base_of(request: Fit | Compare) -> Base:
    """Open the model of a request.

    Raises:
        BadInput: the model, its layer or an option that is for a linear head only cannot be used.
    """
    if isinstance(request, Fit) and request.how != "linear":
        if request.sweep and request.how is not None:
            raise BadInput("--sweep is for --how linear.", "Leave it out, or name --layer.")
        if request.layer is not None and request.top is not None:
            raise BadInput(
                f"--top trains the last blocks, and --layer {request.layer} reads others.",
                "Leave one of them out.",
            )
    return open_base(request.model, request.layer, request.device)


def source_of(request: Fit | Compare) -> Source:
    """Return the data options of a request.

    Raises:
        BadInput: its task has no labeled data.
    """
    task = request.task
    if task == "generate" or task == "write":  # noqa: PLR1714  narrows the type
        raise BadInput(f"--task {task} has no labeled data.", "Use graft fit ... --how lora.")
    return Source(
        data=request.data,
        test=request.test,
        target=request.target,
        content=tuple(request.content),
        task=None if task == "auto" else task,
        test_share=request.test_share,
        validation_share=request.validation_share,
        seed=request.seed,
        balanced=request.balance,
        reading=reading_of(request),
        missing=request.missing,
        numbers=isinstance(request, Fit) and request.how in {None, "linear"},
    )


def note_data(problem: Problem, monitor: Monitor) -> None:
    """Note that class sizes are very different, or that weighing them has no effect."""
    if problem.source.balanced and problem.targets.task == "number":
        monitor.note("no effect on numbers, which have no classes: --balance")
    imbalance = problem.facts.imbalance
    if imbalance is not None and imbalance >= 3 and not problem.source.balanced:
        monitor.note(
            f"the most frequent class has {imbalance:.1f} times the examples of the rarest; "
            "--balance weighs them alike"
        )


def note_out_of_distribution(unusual: int, count: int, model: str, monitor: Monitor) -> None:
    """Note how many images are out of distribution for the frozen model, if any."""
    if unusual:
        monitor.note(
            f"{unusual:,} of {counted(count, 'image is', 'images are')} unlike all that {model} "
            "was trained on; what its features say of them may be unreliable"
            f"{offer(unusual, count, model)}"
        )


def fit_problem(
    problem: Problem, request: Fit, training: Path, monitor: Monitor
) -> tuple[Problem, Made, Sequence[Trial]]:
    """Fit by the method of a request.

    Args:
        problem: model and data.
        request: method and settings.
        training: folder for the training of a network; a stopped training is resumed.
        monitor: informed about progress.

    Returns:
        The problem, with the layer that a sweep selected; the fit; the settings that were tried.

    Raises:
        BadInput: too few examples to validate on, or a setting cannot be used.
        Diverged: the loss of a training is no longer finite.
        Cancelled: stopped by the user; the last step of a training is saved.
    """
    how = request.how or _usual(problem, request)
    if how == "linear" and request.sweep:
        problem, tried = sweep_layers(problem, monitor)
        return problem, make_linear(problem, monitor), tried
    problem = layered(problem, request)
    if how == "linear":
        return problem, make_linear(problem, monitor), ()
    from ..finetune.run import candidates, choose, tune, usual

    folders.claim(training, TRAINING)
    if how == "auto":
        hows = ("lora", "full") if request.how else ("lora",)
        minutes = request.minutes or (_MINUTES if request.how else _FEW_MINUTES)
        methods = [settings_of(request, one) for one in hows]
        alone = request.how and request.learning_rate is None and request.rates == 1
        listed = [
            one
            for method in methods
            for one in (usual(method) if alone else candidates(method, request.rates))
        ]
        try:
            return problem, *choose(problem, listed, minutes, training, monitor)
        except (BadInput, Diverged) as error:
            if request.how is not None:
                raise
            monitor.note(f"lora was tried and left out: {error.text}")
            return problem, make_linear(problem, monitor), ()
    run = tune(problem, settings_of(request, how), training, monitor)
    return problem, make_tuned(problem, run, training, monitor), ()


def layered(problem: Problem, request: Fit | Compare) -> Problem:
    """Return the problem on all layers if no layer is named and the model reads images only.

    Its last layer alone has discarded much that separates classes other than its own. Where only
    the top is trained, the last layer is used: the output of the blocks below is cached.
    """
    alone = request.top is not None
    if isinstance(request, Fit):
        alone = request.layer is not None or (alone and request.how != "linear")
    if alone or problem.base.reads != {"image"}:
        return problem
    two = reads_two_sizes(open_folder(problem.base.root))
    return problem.at_layer("multiscale" if two else "all")


def _usual(problem: Problem, request: Fit) -> str:
    """Return the method where none is named: one whose choice the data can support."""
    few = len(problem.split.validation) < _FEW_VALIDATED
    if request.sweep or few or not has_network(problem):
        return "linear"
    return "auto"


def settings_of(request: Fit | Compare, how: str) -> "Settings":
    """Return the fine-tuning settings of a request."""
    usual = _LORA_RATE if how == "lora" else _FULL_RATE
    values = {one.name: getattr(request, one.name) for one in fields(Settings) if one.name != "how"}
    values |= {"targets": tuple(request.targets), "learning_rate": request.learning_rate or usual}
    return Settings(how, **values)


KIND = "comparison"
IMAGE, FIGURES = "compare.png", "compare.json"


@dataclass(frozen=True)
class Comparison:
    """Comparison of fine-tuning methods on the same test data.

    Attributes:
        report: all results.
        plot: plot of scores with intervals, the cost of each method, and the learning curve.
    """

    report: FitComparison
    plot: "Image"

    @property
    def methods(self) -> Sequence[Method]:
        """Results of the methods, one row each."""
        return self.report.ways

    @property
    def recommended(self) -> str:
        """The recommended method."""
        return self.report.recommended

    @property
    def reason(self) -> str:
        """The reason for the recommendation, in one sentence."""
        return self.report.reason

    @property
    def table(self) -> list[dict[str, Any]]:
        """One row per method, ready for `pandas.DataFrame`."""
        return [
            {
                "method": one.name,
                "score": one.score.value,
                "low": one.score.low,
                "high": one.score.high,
                **one.model_dump(exclude={"name", "score"}),
            }
            for one in self.report.ways
        ]

    def __repr__(self) -> str:
        return f"Comparison(recommended={self.recommended!r}, methods={len(self.report.ways)})"

    def _repr_png_(self) -> bytes:
        """Return the plot, which notebooks display."""
        buffer = io.BytesIO()
        self.plot.save(buffer, format="PNG")
        return buffer.getvalue()


def compare(
    data: str | Path,
    target: str | None = None,
    *,
    model: str | Path | None = None,
    out: str | Path | None = None,
    monitor: Monitor | None = None,
    **options: Any,
) -> Comparison:
    """Compare linear, LoRA and full fine-tuning on the same data, and recommend one.

    >>> import graftwerk as gw
    >>> gw.compare("nowhere.csv", target="topic")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    graftwerk.errors.BadFile: ...nowhere.csv...

    Args:
        data: a folder of class folders, a zip of one, or a table: .csv .jsonl .parquet.
        target: column of the labels; None for a column called label, target, class, ...
        model: as for `Classifier`.
        out: folder for the fits, the plot and the results; None to write nothing.
        monitor: informed about progress; silent by default.
        **options: the other fields of `graftwerk.Compare`, for example `epochs`, `test`, `seed`.

    Raises:
        BadInput: data, labels or model cannot be used, or there are too few examples to validate
            on.
        Diverged: the loss of a training is no longer finite.
    """
    given = {"data": str(data), "target": target, **options}
    given |= {} if model is None else {"model": str(model)}
    with tempfile.TemporaryDirectory(prefix="graftwerk-") as folder:
        given["out"] = Path(folder) / "compare" if out is None else Path(out)
        request = checked(Compare, **given)
        with named_by_user([request.model]):
            found = carry_out(request, monitor or Silent())
    if out is not None:
        return found
    return Comparison(found.report.model_copy(update={"out": "", "picture": ""}), found.plot)


def carry_out(request: Compare, monitor: Monitor) -> Comparison:
    """Fit by every method, measure each on the same test examples, plot and recommend.

    Raises:
        BadInput: data, labels or model cannot be used, or there are too few examples to validate
            on.
        WrongBase: the old head belongs to another model.
        Diverged: the loss of a training is no longer finite.
        Cancelled: stopped by the user.
        NoRoom: a file cannot be written.
    """
    from PIL import Image

    from ..finetune.compare import Comparison as Measuring
    from ..finetune.compare import learning_curve, plot_comparison, recommend, verdict
    from ..finetune.run import candidates

    begin = time.perf_counter()
    out = request.out.absolute()
    folders.require_free(out, KIND, KIND, _is_former)
    folders.require_outside(
        (request.data, request.test, request.model, request.old, request.old_data), out
    )
    problem = layered(problem_of(request, monitor), request)
    before = _before(request, problem, monitor)
    folders.claim(out, KIND, verify=_is_former)
    measuring = Measuring(problem, out, before, monitor)
    methods = [measuring.linear()]
    for how in ("lora", "full"):
        methods += measuring.tuned(candidates(settings_of(request, how), request.rates))
    curve = learning_curve(problem, monitor)
    retained, reason = recommend(methods)
    title = f"{Path(request.data).name} on {problem.base.name}"
    png = plot_comparison(methods, curve, title, retained)
    files.write_bytes(out / IMAGE, png)
    report = FitComparison(
        out=str(request.out),
        picture=str(request.out / IMAGE),
        model=problem.base.name,
        data=problem.facts,
        ways=methods,
        before=None if before is None else before.name,
        curve=curve,
        more_examples=verdict(curve, methods[0].score.name),
        recommended=retained,
        reason=reason,
        seconds=time.perf_counter() - begin,
    )
    files.write_json(out / FIGURES, report.model_dump())
    return Comparison(report, Image.open(io.BytesIO(png)))


def _before(request: Compare, problem: Problem, monitor: Monitor) -> "PriorTask | None":
    """Return the task that may be forgotten: the named one, else zero-shot if possible."""
    from ..finetune.compare import is_joint, of_head, of_scenes, of_words

    joint = problem.examples.kind == "image" and is_joint(problem.base)
    if request.old is not None:
        head, data = _old(request, request.old, problem, monitor)
        return of_head(f"the head in {request.old}", head, data)
    if request.old_data is None:
        return of_scenes(problem.base) if joint else None
    if not joint:
        raise BadInput(
            f"--old-data alone needs images and a model that reads texts too, which "
            f"{problem.base.name} does not.",
            "Name a linear head of the same model with --old.",
        )
    source = Source(data=request.old_data, seed=request.seed, task="class")
    return of_words(open_problem(problem.base, source, monitor))


def _old(
    request: Compare, folder: Path, problem: Problem, monitor: Monitor
) -> "tuple[LinearHead, Problem]":
    """Load the old head and its data, and check that the head belongs to the same model."""
    if request.old_data is None:
        raise BadInput("--old needs --old-data.", "Name the labeled data of the old head.")
    saved = open_fit(folder, problem.base.name, request.device)
    if saved.bundle.kind != "linear":
        raise BadInput(f"{folder} is not a linear head.", "Name a fit made with --how linear.")
    require_base(saved.bundle, problem.base.name, problem.base.fingerprint)
    table = is_table(request.old_data)
    source = Source(
        data=request.old_data,
        target=saved.requested.target if table else None,
        content=saved.requested.content if table else (),
        task=saved.task,
        seed=request.seed,
    )
    data = open_problem(problem.base, source, monitor)
    if data.targets.labels != saved.head.labels:
        raise BadInput(
            f"{request.old_data} has other labels than the head in {folder}.", "Name its own data."
        )
    return saved.head, data


def _is_former(folder: Path) -> bool:
    """Whether a folder without a marker contains a comparison, complete or not."""
    return any(files_of(folder / name, name) is not None for name in KINDS) or any(
        is_retained(path) for path in folder.glob(f"*.{TRAINING}") if path.is_dir()
    )

"""Compare linear, LoRA and full fine-tuning on the same data, and recommend one."""

import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files, folders
from ..errors import BadInput
from ..finetune.problem import Problem, Source, open_problem
from ..finetune.results import FitComparison, Method
from ..models.hub import named_by_user
from ..requests.base import DEFAULT_ENCODER
from ..requests.finetune import Compare
from ..types import Monitor, Silent
from .arguments import checked
from .fitting import problem_of, settings_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..adapters.linear_head import LinearHead
    from ..finetune.forgetting import PriorTask


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
    model: str | Path = DEFAULT_ENCODER,
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
    given = {"data": str(data), "target": target, "model": str(model), **options}
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

    from ..finetune.auto import candidates
    from ..finetune.compare import Comparison as Measuring
    from ..finetune.compare import learning_curve, plot_comparison, recommend, verdict

    begin = time.perf_counter()
    out = request.out.absolute()
    folders.require_free(out, KIND, KIND, _is_former)
    folders.require_outside(
        (request.data, request.test, request.model, request.old, request.old_data), out
    )
    problem = problem_of(request, monitor)
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
    from ..finetune.forgetting import is_joint, of_head, of_scenes, of_words

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
    from ..adapters.manifest import require_base
    from ..data.tables import is_table
    from ..finetune.saved import open_fit

    if request.old_data is None:
        raise BadInput("--old needs --old-data.", "Name the labelled data of the old head.")
    saved = open_fit(folder, request.model, request.device)
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
    from ..adapters.manifest import files_of
    from ..finetune.saved import KINDS, TRAINING, is_retained

    return any(files_of(folder / name, name) is not None for name in KINDS) or any(
        is_retained(path) for path in folder.glob(f"*.{TRAINING}") if path.is_dir()
    )

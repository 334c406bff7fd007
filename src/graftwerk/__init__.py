"""Graftwerk: a frozen pre-trained model, plus one small thing that steers it.

>>> import graftwerk
>>> request = graftwerk.Search(query="parental leave", index="handbook-index")
>>> request.k
10

`graftwerk.run(request)` carries it out and returns the report. Importing the package imports
neither PyTorch nor NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import requests
from .errors import GraftError
from .requests.ask import Ask, Calibrate
from .requests.blocks import BlocksRender, BlocksShow, RecipeEval, RecipeList, RecipeRun
from .requests.classify import Classify
from .requests.condition import ConditionList, EvalEdges, MakeCondition
from .requests.control import ControlAblation, ControlExport, ControlTrain
from .requests.evaluate import EvalAlignment, EvalAnswers, EvalRetrieval, EvalSimilarity
from .requests.finetune import Compare, EvalFit, Fit, Predict
from .requests.generate import Generate
from .requests.guide import GuideCheck, GuideSweep, Invert
from .requests.models import ModelsInfo, ModelsList, Tour
from .requests.probe import Readout
from .requests.search import (
    Embed,
    IndexAdd,
    IndexRebuild,
    IndexRemove,
    IndexStatus,
    IndexVerify,
    Search,
)
from .results import Report
from .settings import forbid_telemetry

if TYPE_CHECKING:
    from .diffusion.guidance import guided
    from .library import samplers
    from .library.adapters import ClassGuide, ControlNet, Guide, ImageGuide, Lora, TextGuide
    from .library.pipeline import GeneratedImages, Pipeline
    from .types import Monitor

# public objects, imported when they are first asked for: name -> module of this package
_OBJECTS: dict[str, str] = {
    "ClassGuide": "library.adapters",
    "ControlNet": "library.adapters",
    "GeneratedImages": "library.pipeline",
    "Guide": "library.adapters",
    "ImageGuide": "library.adapters",
    "Lora": "library.adapters",
    "Pipeline": "library.pipeline",
    "TextGuide": "library.adapters",
    "guided": "diffusion.guidance",
}
# public modules, in the same way
_MODULES = {"samplers": "library.samplers"}


forbid_telemetry()  # here, as it must come before the import of any library that would send some

__version__ = "0.1.0"

__all__ = [
    "Ask",
    "BlocksRender",
    "BlocksShow",
    "Calibrate",
    "ClassGuide",
    "Classify",
    "Compare",
    "ConditionList",
    "ControlAblation",
    "ControlExport",
    "ControlNet",
    "ControlTrain",
    "Embed",
    "EvalAlignment",
    "EvalAnswers",
    "EvalEdges",
    "EvalFit",
    "EvalRetrieval",
    "EvalSimilarity",
    "Fit",
    "Generate",
    "GeneratedImages",
    "GraftError",
    "Guide",
    "GuideCheck",
    "GuideSweep",
    "ImageGuide",
    "IndexAdd",
    "IndexRebuild",
    "IndexRemove",
    "IndexStatus",
    "IndexVerify",
    "Invert",
    "Lora",
    "MakeCondition",
    "ModelsInfo",
    "ModelsList",
    "Pipeline",
    "Predict",
    "Readout",
    "RecipeEval",
    "RecipeList",
    "RecipeRun",
    "Search",
    "TextGuide",
    "Tour",
    "__version__",
    "guided",
    "run",
    "samplers",
]


def run(request: requests.Request, monitor: "Monitor | None" = None) -> Report:
    """Carry out any request and return its report.

    Args:
        request: one of the request classes of this package.
        monitor: told about progress; silent by default.

    Raises:
        GraftError: a subclass that says what was received, what is allowed and what to do.
    """
    from .commands import CATALOGUE
    from .types import Silent

    for verb in CATALOGUE:
        if verb.request is type(request):
            return verb.load()(request, monitor or Silent())
    raise TypeError(f"{type(request).__name__} is not a request of graftwerk")


def __getattr__(name: str) -> Any:
    """Import a public object when it is first asked for."""
    if name in _MODULES:
        return import_module(f"{__name__}.{_MODULES[name]}")
    if name not in _OBJECTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_OBJECTS[name]}"), name)

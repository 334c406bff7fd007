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
from .settings import forbid_telemetry

if TYPE_CHECKING:
    from . import conditions
    from .diffusion.guidance import guided
    from .diffusion.img2img import inpainted
    from .library import samplers
    from .library.adapters import (
        Autoguide,
        ClassGuide,
        ControlNet,
        Guide,
        ImageGuide,
        Lora,
        TextGuide,
    )
    from .library.chat import Conversation
    from .library.controlnet import train_controlnet
    from .library.encoder import Encoder, load_encoder
    from .library.estimators import Classifier, Regressor, load
    from .library.fitting import compare
    from .library.forecaster import Forecaster, ForecastValues
    from .library.index import Index
    from .library.inversion import invert
    from .library.pipeline import GeneratedImages, Pipeline
    from .library.policy import Policy
    from .library.probing import probe
    from .requests.base import R_co, Request
    from .requests.control import (
        ConditionList,
        ControlAblation,
        ControlExport,
        ControlTrain,
        EvalEdges,
        GuideCheck,
        GuideSweep,
        Invert,
        MakeCondition,
    )
    from .requests.finetune import Compare, EvalFit, Fit, FitExport, Forecast, LoraTrain, Predict
    from .requests.generate import Generate
    from .requests.models import (
        BlocksEpisodes,
        BlocksRender,
        BlocksReplay,
        BlocksShow,
        Classify,
        EvalAlignment,
        EvalAnswers,
        EvalPolicy,
        EvalRetrieval,
        EvalSimilarity,
        ModelsFetch,
        ModelsInfo,
        ModelsList,
        Readout,
        RecipeEval,
        RecipeList,
        RecipeRun,
        Tour,
    )
    from .requests.search import (
        Ask,
        Calibrate,
        Chat,
        Embed,
        IndexAdd,
        IndexRebuild,
        IndexRemove,
        IndexStatus,
        IndexVerify,
        Search,
    )
    from .types import Monitor

# public objects, imported when they are first asked for: name -> module of this package
_OBJECTS: dict[str, str] = {
    "Autoguide": "library.adapters",
    "ClassGuide": "library.adapters",
    "Classifier": "library.estimators",
    "ControlNet": "library.adapters",
    "Conversation": "library.chat",
    "Encoder": "library.encoder",
    "ForecastValues": "library.forecaster",
    "Forecaster": "library.forecaster",
    "GeneratedImages": "library.pipeline",
    "Guide": "library.adapters",
    "ImageGuide": "library.adapters",
    "Index": "library.index",
    "Lora": "library.adapters",
    "Pipeline": "library.pipeline",
    "Policy": "library.policy",
    "Regressor": "library.estimators",
    "TextGuide": "library.adapters",
    "compare": "library.fitting",
    "guided": "diffusion.guidance",
    "inpainted": "diffusion.img2img",
    "invert": "library.inversion",
    "load": "library.estimators",
    "load_encoder": "library.encoder",
    "probe": "library.probing",
    "train_controlnet": "library.controlnet",
}
_OBJECTS |= {name: f"requests.{module}" for name, module in requests.REQUESTS.items()}
# public modules, in the same way
_MODULES = {"conditions": "conditions", "samplers": "library.samplers"}


forbid_telemetry()  # here, as it must come before the import of any library that would send some

__version__ = "0.1.0"

__all__ = [
    "Ask",
    "Autoguide",
    "BlocksEpisodes",
    "BlocksRender",
    "BlocksReplay",
    "BlocksShow",
    "Calibrate",
    "Chat",
    "ClassGuide",
    "Classifier",
    "Classify",
    "Compare",
    "ConditionList",
    "ControlAblation",
    "ControlExport",
    "ControlNet",
    "ControlTrain",
    "Conversation",
    "Embed",
    "Encoder",
    "EvalAlignment",
    "EvalAnswers",
    "EvalEdges",
    "EvalFit",
    "EvalPolicy",
    "EvalRetrieval",
    "EvalSimilarity",
    "Fit",
    "FitExport",
    "Forecast",
    "ForecastValues",
    "Forecaster",
    "Generate",
    "GeneratedImages",
    "GraftError",
    "Guide",
    "GuideCheck",
    "GuideSweep",
    "ImageGuide",
    "Index",
    "IndexAdd",
    "IndexRebuild",
    "IndexRemove",
    "IndexStatus",
    "IndexVerify",
    "Invert",
    "Lora",
    "LoraTrain",
    "MakeCondition",
    "ModelsFetch",
    "ModelsInfo",
    "ModelsList",
    "Pipeline",
    "Policy",
    "Predict",
    "Readout",
    "RecipeEval",
    "RecipeList",
    "RecipeRun",
    "Regressor",
    "Search",
    "TextGuide",
    "Tour",
    "__version__",
    "compare",
    "conditions",
    "guided",
    "inpainted",
    "invert",
    "load",
    "load_encoder",
    "probe",
    "run",
    "samplers",
    "train_controlnet",
]


def run(request: "Request[R_co]", monitor: "Monitor | None" = None) -> "R_co":
    """Carry out any request and return its result.

    >>> import graftwerk as gw
    >>> gw.run(gw.ConditionList()).kinds[0].name
    'canny'

    Args:
        request: one of the request classes of this package.
        monitor: informed about progress; silent by default.

    Raises:
        GraftError: a subclass that says what was received, what is allowed and what to do.
    """
    from .commands import command_of
    from .types import Silent

    result: Any = command_of(request).load()(request, monitor or Silent())
    return result  # type: ignore[no-any-return]


def __getattr__(name: str) -> Any:
    """Import a public object when it is first asked for."""
    if name in _MODULES:
        return import_module(f"{__name__}.{_MODULES[name]}")
    if name not in _OBJECTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_OBJECTS[name]}"), name)

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
from .errors import GraftError as GraftError
from .settings import forbid_telemetry

if TYPE_CHECKING:  # "as" makes a name public for type checkers
    from . import conditions as conditions
    from .diffusion.guidance import guided as guided
    from .diffusion.img2img import inpainted as inpainted
    from .library import samplers as samplers
    from .library.adapters import Autoguide as Autoguide
    from .library.adapters import ClassGuide as ClassGuide
    from .library.adapters import ControlNet as ControlNet
    from .library.adapters import Guide as Guide
    from .library.adapters import ImageGuide as ImageGuide
    from .library.adapters import Lora as Lora
    from .library.adapters import TextGuide as TextGuide
    from .library.controlnet import train_controlnet as train_controlnet
    from .library.encoder import Encoder as Encoder
    from .library.encoder import load_encoder as load_encoder
    from .library.estimators import Classifier as Classifier
    from .library.estimators import Regressor as Regressor
    from .library.estimators import load as load
    from .library.fitting import compare as compare
    from .library.forecaster import Forecaster as Forecaster
    from .library.forecaster import ForecastValues as ForecastValues
    from .library.index import Index as Index
    from .library.inversion import invert as invert
    from .library.pipeline import GeneratedImages as GeneratedImages
    from .library.pipeline import Pipeline as Pipeline
    from .library.policy import Policy as Policy
    from .library.probing import probe as probe
    from .rag.conversation import Conversation as Conversation
    from .requests.base import R_co, Request
    from .requests.control import ConditionList as ConditionList
    from .requests.control import ControlAblation as ControlAblation
    from .requests.control import ControlExport as ControlExport
    from .requests.control import ControlTrain as ControlTrain
    from .requests.control import EvalEdges as EvalEdges
    from .requests.control import GuideCheck as GuideCheck
    from .requests.control import GuideSweep as GuideSweep
    from .requests.control import Invert as Invert
    from .requests.control import MakeCondition as MakeCondition
    from .requests.finetune import Compare as Compare
    from .requests.finetune import EvalFit as EvalFit
    from .requests.finetune import Fit as Fit
    from .requests.finetune import FitExport as FitExport
    from .requests.finetune import Forecast as Forecast
    from .requests.finetune import LoraTrain as LoraTrain
    from .requests.finetune import Predict as Predict
    from .requests.generate import Generate as Generate
    from .requests.models import BlocksEpisodes as BlocksEpisodes
    from .requests.models import BlocksRender as BlocksRender
    from .requests.models import BlocksReplay as BlocksReplay
    from .requests.models import BlocksShow as BlocksShow
    from .requests.models import Classify as Classify
    from .requests.models import EvalAlignment as EvalAlignment
    from .requests.models import EvalAnswers as EvalAnswers
    from .requests.models import EvalPolicy as EvalPolicy
    from .requests.models import EvalRetrieval as EvalRetrieval
    from .requests.models import EvalSimilarity as EvalSimilarity
    from .requests.models import ModelsFetch as ModelsFetch
    from .requests.models import ModelsInfo as ModelsInfo
    from .requests.models import ModelsList as ModelsList
    from .requests.models import Readout as Readout
    from .requests.models import RecipeEval as RecipeEval
    from .requests.models import RecipeList as RecipeList
    from .requests.models import RecipeRun as RecipeRun
    from .requests.models import Tour as Tour
    from .requests.search import Ask as Ask
    from .requests.search import Calibrate as Calibrate
    from .requests.search import Chat as Chat
    from .requests.search import Embed as Embed
    from .requests.search import IndexAdd as IndexAdd
    from .requests.search import IndexRebuild as IndexRebuild
    from .requests.search import IndexRemove as IndexRemove
    from .requests.search import IndexStatus as IndexStatus
    from .requests.search import IndexVerify as IndexVerify
    from .requests.search import Search as Search
    from .types import Monitor

# public objects, imported when they are first asked for: name -> module of this package
_OBJECTS: dict[str, str] = {
    "Autoguide": "library.adapters",
    "ClassGuide": "library.adapters",
    "Classifier": "library.estimators",
    "ControlNet": "library.adapters",
    "Conversation": "rag.conversation",
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

if not TYPE_CHECKING:  # type checkers go by what is imported above
    __all__ = sorted({"GraftError", "__version__", "run", *_OBJECTS, *_MODULES})  # noqa: PLE0605


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

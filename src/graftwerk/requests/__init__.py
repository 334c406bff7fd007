"""One frozen request per command: command-line flags, HTTP schema and Python keywords come from it.

A field marked `positional` is a bare argument on the command line. Paths are plain strings so
that a file name of any bytes survives.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .control import *  # noqa: F403
    from .finetune import *  # noqa: F403
    from .generate import *  # noqa: F403
    from .models import *  # noqa: F403
    from .search import *  # noqa: F403

_MODULES = {
    "control": "ConditionList ControlAblation ControlExport ControlTrain EvalEdges GuideCheck "
    "GuideSweep Invert MakeCondition",
    "finetune": "Compare EvalFit Fit FitExport Forecast LoraTrain Predict",
    "generate": "Generate",
    "models": "BlocksEpisodes BlocksRender BlocksReplay BlocksShow Classify EvalAlignment "
    "EvalAnswers EvalPolicy EvalRetrieval EvalSimilarity ModelsFetch ModelsInfo ModelsList Readout "
    "RecipeEval RecipeList RecipeRun Tour",
    "search": "Ask Calibrate Chat Embed IndexAdd IndexRebuild IndexRemove IndexStatus IndexVerify "
    "Search",
}
# request -> module; each is imported when it is first asked for
REQUESTS = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Import a request when it is first asked for."""
    if name not in REQUESTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{REQUESTS[name]}"), name)

"""One frozen request per command: command-line flags, HTTP schema and Python keywords come from it.

A field marked `positional` is a bare argument on the command line. Paths are plain strings so
that a file name of any bytes survives.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .blocks import *  # noqa: F403
    from .control import *  # noqa: F403
    from .finetune import *  # noqa: F403
    from .generate import *  # noqa: F403
    from .guide import *  # noqa: F403
    from .models import *  # noqa: F403
    from .search import *  # noqa: F403

_MODULES = {
    "blocks": "BlocksEpisodes BlocksRender BlocksReplay BlocksShow RecipeEval RecipeList RecipeRun",
    "control": "ConditionList ControlAblation ControlExport ControlTrain EvalEdges MakeCondition",
    "finetune": "Compare EvalFit Fit FitExport Forecast LoraTrain Predict",
    "generate": "Generate",
    "guide": "GuideCheck GuideSweep Invert",
    "models": "Classify EvalAlignment EvalAnswers EvalPolicy EvalRetrieval EvalSimilarity "
    "ModelsFetch ModelsInfo ModelsList Readout Tour",
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

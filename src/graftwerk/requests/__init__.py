"""One frozen request per command: command-line flags, HTTP schema and Python keywords come from it.

A field marked `positional` is a bare argument on the command line. Paths are plain strings so
that a file name of any bytes survives.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ask import Ask, Calibrate, Chat
    from .base import Request
    from .blocks import (
        BlocksEpisodes,
        BlocksRender,
        BlocksReplay,
        BlocksShow,
        RecipeEval,
        RecipeList,
        RecipeRun,
    )
    from .classify import Classify
    from .condition import ConditionList, EvalEdges, MakeCondition
    from .control import ControlAblation, ControlExport, ControlTrain
    from .evaluate import EvalAlignment, EvalAnswers, EvalPolicy, EvalRetrieval, EvalSimilarity
    from .finetune import Compare, EvalFit, Fit, FitExport, Forecast, LoraTrain, Predict
    from .generate import Generate
    from .guide import GuideCheck, GuideSweep, Invert
    from .models import ModelsFetch, ModelsInfo, ModelsList, Tour
    from .probe import Readout
    from .search import Embed, IndexAdd, IndexRebuild, IndexRemove, IndexStatus, IndexVerify, Search

# request -> module; each is imported when it is first asked for
REQUESTS = {
    "Ask": "ask",
    "BlocksEpisodes": "blocks",
    "BlocksRender": "blocks",
    "BlocksReplay": "blocks",
    "BlocksShow": "blocks",
    "Calibrate": "ask",
    "Chat": "ask",
    "Classify": "classify",
    "Compare": "finetune",
    "ConditionList": "condition",
    "ControlAblation": "control",
    "ControlExport": "control",
    "ControlTrain": "control",
    "Embed": "search",
    "EvalAlignment": "evaluate",
    "EvalAnswers": "evaluate",
    "EvalEdges": "condition",
    "EvalFit": "finetune",
    "EvalPolicy": "evaluate",
    "EvalRetrieval": "evaluate",
    "EvalSimilarity": "evaluate",
    "Fit": "finetune",
    "FitExport": "finetune",
    "Forecast": "finetune",
    "Generate": "generate",
    "GuideCheck": "guide",
    "GuideSweep": "guide",
    "IndexAdd": "search",
    "IndexRebuild": "search",
    "IndexRemove": "search",
    "IndexStatus": "search",
    "IndexVerify": "search",
    "Invert": "guide",
    "LoraTrain": "finetune",
    "MakeCondition": "condition",
    "ModelsFetch": "models",
    "ModelsInfo": "models",
    "ModelsList": "models",
    "Predict": "finetune",
    "Readout": "probe",
    "RecipeEval": "blocks",
    "RecipeList": "blocks",
    "RecipeRun": "blocks",
    "Search": "search",
    "Tour": "models",
}

__all__ = [
    "REQUESTS",
    "Ask",
    "BlocksEpisodes",
    "BlocksRender",
    "BlocksReplay",
    "BlocksShow",
    "Calibrate",
    "Chat",
    "Classify",
    "Compare",
    "ConditionList",
    "ControlAblation",
    "ControlExport",
    "ControlTrain",
    "Embed",
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
    "Generate",
    "GuideCheck",
    "GuideSweep",
    "IndexAdd",
    "IndexRebuild",
    "IndexRemove",
    "IndexStatus",
    "IndexVerify",
    "Invert",
    "LoraTrain",
    "MakeCondition",
    "ModelsFetch",
    "ModelsInfo",
    "ModelsList",
    "Predict",
    "Readout",
    "RecipeEval",
    "RecipeList",
    "RecipeRun",
    "Request",
    "Search",
    "Tour",
]


def __getattr__(name: str) -> Any:
    """Import a request when it is first asked for."""
    module = "base" if name == "Request" else REQUESTS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)

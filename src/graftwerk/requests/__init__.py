"""One frozen request per verb: command-line flags, HTTP schema and Python keywords come from it.

A field marked `positional` is a bare argument on the command line. Paths are plain strings so
that a file name of any bytes survives.
"""

from .ask import Ask, Calibrate
from .base import (
    DEFAULT_ENCODER,
    DEFAULT_GUIDE,
    DEFAULT_INDEX,
    DEFAULT_PICTURE_ENCODER,
    DEFAULT_PIPELINE,
    MODEL_FIELDS,
    POSITIONAL,
    Device,
    EncoderName,
    HitCount,
    IndexFolder,
    Layer,
    Mode,
    PathText,
    Request,
    SceneSide,
    holds_path,
)
from .blocks import BlocksRender, BlocksShow, RecipeEval, RecipeList, RecipeRun
from .classify import Classify
from .condition import ConditionList, EvalEdges, MakeCondition
from .control import ControlAblation, ControlExport, ControlTrain
from .evaluate import EvalAlignment, EvalAnswers, EvalRetrieval, EvalSimilarity
from .finetune import Compare, EvalFit, Fit, Predict
from .generate import Generate
from .guide import GuideCheck, GuideSweep, Invert
from .models import ModelsInfo, ModelsList, Tour
from .probe import Readout
from .search import Embed, IndexAdd, IndexRebuild, IndexRemove, IndexStatus, IndexVerify, Search

__all__ = [
    "DEFAULT_ENCODER",
    "DEFAULT_GUIDE",
    "DEFAULT_INDEX",
    "DEFAULT_PICTURE_ENCODER",
    "DEFAULT_PIPELINE",
    "MODEL_FIELDS",
    "POSITIONAL",
    "Ask",
    "BlocksRender",
    "BlocksShow",
    "Calibrate",
    "Classify",
    "Compare",
    "ConditionList",
    "ControlAblation",
    "ControlExport",
    "ControlTrain",
    "Device",
    "Embed",
    "EncoderName",
    "EvalAlignment",
    "EvalAnswers",
    "EvalEdges",
    "EvalFit",
    "EvalRetrieval",
    "EvalSimilarity",
    "Fit",
    "Generate",
    "GuideCheck",
    "GuideSweep",
    "HitCount",
    "IndexAdd",
    "IndexFolder",
    "IndexRebuild",
    "IndexRemove",
    "IndexStatus",
    "IndexVerify",
    "Invert",
    "Layer",
    "MakeCondition",
    "Mode",
    "ModelsInfo",
    "ModelsList",
    "PathText",
    "Predict",
    "Readout",
    "RecipeEval",
    "RecipeList",
    "RecipeRun",
    "Request",
    "SceneSide",
    "Search",
    "Tour",
    "holds_path",
]

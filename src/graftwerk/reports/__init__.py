"""One frozen report per verb: the `--json` object, the HTTP body, and what `--help` documents.

Every field has a description; the help text of a command lists its report's keys from here.
"""

from .adapt import (
    ComparedWay,
    CurveStep,
    DataFacts,
    FitComparison,
    FitEvaluation,
    FitResult,
    FitScore,
    LeftOut,
    Prediction,
    Predictions,
    Tried,
)
from .answers import Answer, Calibration, CitationReport, Dropped
from .base import Report
from .blocks import BlocksData, BlocksSheet, RecipeEvaluation, RecipeList, RecipeResult
from .measuring import (
    AnswersEvaluation,
    RetrievalEvaluation,
    RetrievalFigures,
    SimilarityEvaluation,
)
from .models import ModelCard, ModelList
from .pictures import Generation, PictureReport
from .readout import Moved, Read, ReadoutResult, Share, Shift
from .search import (
    Damage,
    Embedding,
    HitReport,
    IndexChange,
    IndexCheck,
    IndexState,
    SearchResult,
    Skipped,
)
from .teaching import TaughtResult
from .tour import TourResult

__all__ = [
    "Answer",
    "AnswersEvaluation",
    "BlocksData",
    "BlocksSheet",
    "Calibration",
    "CitationReport",
    "ComparedWay",
    "CurveStep",
    "Damage",
    "DataFacts",
    "Dropped",
    "Embedding",
    "FitComparison",
    "FitEvaluation",
    "FitResult",
    "FitScore",
    "Generation",
    "HitReport",
    "IndexChange",
    "IndexCheck",
    "IndexState",
    "LeftOut",
    "ModelCard",
    "ModelList",
    "Moved",
    "PictureReport",
    "Prediction",
    "Predictions",
    "Read",
    "ReadoutResult",
    "RecipeEvaluation",
    "RecipeList",
    "RecipeResult",
    "Report",
    "RetrievalEvaluation",
    "RetrievalFigures",
    "SearchResult",
    "Share",
    "Shift",
    "SimilarityEvaluation",
    "Skipped",
    "TaughtResult",
    "TourResult",
    "Tried",
]

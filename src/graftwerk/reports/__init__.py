"""One frozen report per verb: the `--json` object, the HTTP body, and what `--help` documents.

Every field has a description; the help text of a command lists its report's keys from here.
"""

from .alignment import Across, AlignmentEvaluation, Half, Hubness, Purity, Recall
from .answers import Answer, Calibration, CitationReport, Dropped
from .base import Report
from .blocks import BlocksData, BlocksSheet, RecipeEvaluation, RecipeList, RecipeResult
from .classifying import Classification, ClassifiedPicture, LabelProbability, TemperatureFit
from .familiarity import Familiarity
from .measuring import (
    AnswersEvaluation,
    RetrievalEvaluation,
    RetrievalFigures,
    SimilarityEvaluation,
)
from .models import ModelCard, ModelList
from .pictures import Generation, PictureReport
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
from .tour import TourResult

__all__ = [
    "Across",
    "AlignmentEvaluation",
    "Answer",
    "AnswersEvaluation",
    "BlocksData",
    "BlocksSheet",
    "Calibration",
    "CitationReport",
    "Classification",
    "ClassifiedPicture",
    "Damage",
    "Dropped",
    "Embedding",
    "Familiarity",
    "Generation",
    "Half",
    "HitReport",
    "Hubness",
    "IndexChange",
    "IndexCheck",
    "IndexState",
    "LabelProbability",
    "ModelCard",
    "ModelList",
    "PictureReport",
    "Purity",
    "Recall",
    "RecipeEvaluation",
    "RecipeList",
    "RecipeResult",
    "Report",
    "RetrievalEvaluation",
    "RetrievalFigures",
    "SearchResult",
    "SimilarityEvaluation",
    "Skipped",
    "TemperatureFit",
    "TourResult",
]

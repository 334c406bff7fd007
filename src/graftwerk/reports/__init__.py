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
from .alignment import Across, AlignmentEvaluation, Half, Hubness, Purity, Recall
from .answers import Answer, Calibration, CitationReport, Dropped
from .base import Report
from .blocks import BlocksData, BlocksSheet, RecipeEvaluation, RecipeList, RecipeResult
from .classifying import Classification, ClassifiedPicture, LabelProbability, TemperatureFit
from .conditions import ConditionKind, ConditionKinds, ConditionResult, EdgeEvaluation
from .control import Ablation, AblationRow, AblationTraining, ControlExported, ControlTrained
from .familiarity import Familiarity
from .guiding import (
    GuideSweepReport,
    GuideVerdicts,
    Inversion,
    PictureVerdict,
    SweepRow,
    Witness,
)
from .measuring import (
    AnswersEvaluation,
    RetrievalEvaluation,
    RetrievalFigures,
    SimilarityEvaluation,
)
from .models import ModelCard, ModelList
from .pictures import ControlReport, FightReport, Generation, GuideReport, PictureReport
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
    SourceCheck,
    SourceDifference,
)
from .teaching import TaughtResult
from .tour import TourResult

__all__ = [
    "Ablation",
    "AblationRow",
    "AblationTraining",
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
    "ComparedWay",
    "ConditionKind",
    "ConditionKinds",
    "ConditionResult",
    "ControlExported",
    "ControlReport",
    "ControlTrained",
    "CurveStep",
    "Damage",
    "DataFacts",
    "Dropped",
    "EdgeEvaluation",
    "Embedding",
    "Familiarity",
    "FightReport",
    "FitComparison",
    "FitEvaluation",
    "FitResult",
    "FitScore",
    "Generation",
    "GuideReport",
    "GuideSweepReport",
    "GuideVerdicts",
    "Half",
    "HitReport",
    "Hubness",
    "IndexChange",
    "IndexCheck",
    "IndexState",
    "Inversion",
    "LabelProbability",
    "LeftOut",
    "ModelCard",
    "ModelList",
    "Moved",
    "PictureReport",
    "PictureVerdict",
    "Prediction",
    "Predictions",
    "Purity",
    "Read",
    "ReadoutResult",
    "Recall",
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
    "SourceCheck",
    "SourceDifference",
    "SweepRow",
    "TaughtResult",
    "TemperatureFit",
    "TourResult",
    "Tried",
    "Witness",
]

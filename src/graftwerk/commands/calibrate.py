"""Set the answerability threshold of an index from labeled questions."""

from pathlib import Path
from typing import Any

from .. import limits
from ..data.tables import AS_FOUND, Reading, is_table, read_table, reading_of
from ..errors import BadFile, BadInput
from ..library.index import Index
from ..rag.evidence import LEAST_QUESTIONS
from ..rag.results import Calibration
from ..requests import search
from ..types import Monitor

_FORM = 'Write one object a line: {"question": "...", "answerable": true}'


def run_calibrate(request: search.Calibrate, monitor: Monitor) -> Calibration:
    """Measure the evidence for every question and store the threshold in the index."""
    questions = read_questions(request.file, reading_of(request))
    with Index(request.index, device=request.device) as index:
        return index.calibrate(
            [question for question, answerable in questions if answerable],
            [question for question, answerable in questions if not answerable],
            false_answer_rate=request.false_answer_rate,
            source=f"this index's own calibration ({request.file.name})",
            monitor=monitor,
        )


def read_questions(path: Path, reading: Reading = AS_FOUND) -> list[tuple[str, bool]]:
    """Read a file of questions, each with whether the documents answer it."""
    if not path.is_file():
        raise BadFile(f"{path} is not a file.", "Name an existing file of JSON lines.")
    limits.require_file_size(path, limits.JSON_FILE, "question file")
    try:
        table = read_table(path, reading) if is_table(path) else None
    except BadFile:
        raise
    except BadInput as error:
        raise BadInput(f"{path} has 0 answerable questions: {error.message}", _FORM) from error
    if table is None or not {"question", "answerable"} <= set(table.columns):
        raise BadInput(f"{path} has no columns question and answerable.", _FORM)
    rows = zip(table.places, table.columns["question"], table.columns["answerable"], strict=True)
    questions = [
        _question(text, predicted, f"{path}, {location}") for location, text, predicted in rows
    ]
    for requested, word in ((True, "answerable"), (False, "unanswerable")):
        count = sum(answerable is requested for _, answerable in questions)
        if count < LEAST_QUESTIONS:
            raise BadInput(
                f"{path} has {count} {word} questions; at least {LEAST_QUESTIONS} are needed.",
                "Add more of them; with 100 of each kind the promise is worth something.",
            )
    return questions


def _question(text: Any, predicted: Any, where: str) -> tuple[str, bool]:
    answerable = _TRUTH.get(str(predicted).strip().lower()) if predicted is not None else None
    if not isinstance(text, str) or not text.strip() or answerable is None:
        shown = f"{text!r}, {predicted!r}"[:80]
        raise BadInput(f"{where}: {shown} is not a labeled question.", _FORM)
    if len(text) > limits.QUESTION_CHARACTERS:
        raise BadInput(
            f"{where}: a question of {len(text):,} characters; at most "
            f"{limits.QUESTION_CHARACTERS:,} are read.",
            "Shorten it.",
        )
    return text, answerable


_TRUTH = {"true": True, "false": False}

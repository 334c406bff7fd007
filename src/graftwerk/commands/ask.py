"""`graft ask`, `chat` and `calibrate`: answers from documents, and the answerability threshold.

`graft ask` searches, abstains below the answerability threshold, builds the prompt, writes, and
checks citations; `graft chat` does so in turn. `graft calibrate` sets the threshold of an index.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import limits
from ..data.documents.formats import name_notes
from ..data.tables import AS_FOUND, Reading, is_table, read_table, reading_of
from ..errors import BadFile, BadInput, WriterFailed
from ..library.index import Index
from ..rag.evidence import LEAST_QUESTIONS
from ..rag.results import Answer, Calibration, ChatResult
from ..requests.search import Ask, Calibrate, Chat
from ..types import Monitor


def run_ask(request: Ask, monitor: Monitor) -> Answer:
    """Answer a question."""
    notes = list(name_notes(request.question, any_word=False))
    for note in notes:
        monitor.note(note)
    with Index(request.index, device=request.device) as index:
        answer = index.ask(**request.arguments(), monitor=monitor)
    return answer.model_copy(update={"notes": [*notes, *answer.notes]})


def run_chat(request: Chat, monitor: Monitor) -> ChatResult:
    """Answer questions in turn, and show each answer; at a terminal a failed turn ends nothing."""
    typed = not request.questions and sys.stdin is not None and sys.stdin.isatty()
    with Index(request.index, device=request.device) as index:
        conversation = index.chat(**request.arguments("questions"))
        index.calibration()  # opens the index and loads the encoder before the first question
        for question in request.questions or _questions(typed):
            try:
                monitor.show(conversation.ask(question, monitor=monitor))
            except (BadInput, WriterFailed) as error:
                if not typed:
                    raise
                monitor.note(str(error))
    if not conversation.turns and not typed:
        raise BadInput("there is no question.", "Write one a line, or pass --questions.")
    return ChatResult(turns=conversation.turns)


def _questions(typed: bool) -> Iterator[str]:
    """Yield the lines of standard input that are not empty."""
    if typed:
        with suppress(EOFError):
            while True:
                if line := input("> " if sys.stdout.isatty() else "").strip():
                    yield line
    elif sys.stdin is not None:
        for raw in sys.stdin.buffer:
            if line := raw.decode("utf-8", "replace").strip("\ufeff \t\r\n"):
                yield line


_FORM = 'Write one object a line: {"question": "...", "answerable": true}'


@dataclass(frozen=True, slots=True)
class Labelled:
    """A question, and whether the documents answer it."""

    question: str
    answerable: bool


def run_calibrate(request: Calibrate, monitor: Monitor) -> Calibration:
    """Measure the evidence for every question and store the threshold in the index."""
    questions = read_questions(request.file, reading_of(request))
    with Index(request.index, device=request.device) as index:
        return index.calibrate(
            [requested.question for requested in questions if requested.answerable],
            [requested.question for requested in questions if not requested.answerable],
            false_answer_rate=request.false_answer_rate,
            source=f"this index's own calibration ({request.file.name})",
            monitor=monitor,
        )


def read_questions(path: Path, reading: Reading = AS_FOUND) -> list[Labelled]:
    """Read a file of labelled questions."""
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
        count = sum(asked.answerable is requested for asked in questions)
        if count < LEAST_QUESTIONS:
            raise BadInput(
                f"{path} has {count} {word} questions; at least {LEAST_QUESTIONS} are needed.",
                "Add more of them; with 100 of each kind the promise is worth something.",
            )
    return questions


def _question(text: Any, predicted: Any, where: str) -> Labelled:
    answerable = _TRUTH.get(str(predicted).strip().lower()) if predicted is not None else None
    if not isinstance(text, str) or not text.strip() or answerable is None:
        shown = f"{text!r}, {predicted!r}"[:80]
        raise BadInput(f"{where}: {shown} is not a labelled question.", _FORM)
    if len(text) > limits.QUESTION_CHARACTERS:
        raise BadInput(
            f"{where}: a question of {len(text):,} characters; at most "
            f"{limits.QUESTION_CHARACTERS:,} are read.",
            "Shorten it.",
        )
    return Labelled(text, answerable)


_TRUTH = {"true": True, "false": False}

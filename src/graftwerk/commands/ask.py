"""`graft calibrate`: set the evidence floor of an index.

`graft ask`: search, abstain below the evidence floor, prompt, write, check citations.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files, limits
from ..errors import BadFile, BadInput
from ..library.index import Index
from ..rag.evidence import LEAST_QUESTIONS
from ..rag.results import Answer, Calibration
from ..requests.ask import Ask, Calibrate
from ..types import Monitor


def run_ask(request: Ask, monitor: Monitor) -> Answer:
    """Answer a question.

    Raises:
        BadInput: no such index or writer, or a question that does not fit the budget.
        WriterFailed: the language model gave no whole answer.
    """
    with Index(request.index, device=request.device) as index:
        return index.ask(
            request.question,
            k=request.k,
            mode=request.mode,
            where=request.where,
            writer=request.writer,
            writer_model=request.writer_model,
            budget=request.budget,
            max_tokens=request.max_tokens,
            timeout=request.timeout,
            evidence=request.evidence,
            show_prompt=request.show_prompt,
            seed=request.seed,
            monitor=monitor,
        )


_FORM = 'Write one object a line: {"question": "...", "answerable": true}'


@dataclass(frozen=True, slots=True)
class Labelled:
    """A question, and whether the documents answer it."""

    question: str
    answerable: bool


def run_calibrate(request: Calibrate, monitor: Monitor) -> Calibration:
    """Measure the evidence for every question and store the floor in the index.

    Raises:
        BadInput: a malformed line, or too few questions of a kind.
    """
    questions = read_questions(request.file)
    with Index(request.index, device=request.device) as index:
        return index.calibrate(
            [asked.question for asked in questions if asked.answerable],
            [asked.question for asked in questions if not asked.answerable],
            false_answer_rate=request.false_answer_rate,
            source=f"this index's own calibration ({request.file.name})",
            monitor=monitor,
        )


def read_questions(path: Path) -> list[Labelled]:
    """Read a file of labelled questions.

    Raises:
        BadFile: no such file, or not UTF-8.
        BadInput: a line that is no labelled question, or too few of a kind.
    """
    if not path.is_file():
        raise BadFile(f"{path} is not a file.", "Name an existing file of JSON lines.")
    limits.require_file_size(path, limits.JSON_FILE, "question file")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8: {error}.", "Save it as UTF-8.") from error
    questions = [
        _read_line(line, f"{path}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    for wanted, word in ((True, "answerable"), (False, "unanswerable")):
        count = sum(asked.answerable is wanted for asked in questions)
        if count < LEAST_QUESTIONS:
            raise BadInput(
                f"{path} has {count} {word} questions; at least {LEAST_QUESTIONS} are needed.",
                "Add more of them; with 100 of each kind the promise is worth something.",
            )
    return questions


def _read_line(line: str, where: str) -> Labelled:
    try:
        content: Any = files.parse_json(line)
    except ValueError as error:
        raise BadInput(f"{where}: no JSON ({error}).", _FORM) from error
    match content:
        case {"question": str(question), "answerable": bool(answerable)} if question.strip():
            if len(question) > limits.QUESTION_CHARACTERS:
                raise BadInput(
                    f"{where}: a question of {len(question):,} characters; at most "
                    f"{limits.QUESTION_CHARACTERS:,} are read.",
                    "Shorten it.",
                )
            return Labelled(question, answerable)
    raise BadInput(f"{where}: {line[:80]!r} is no labelled question.", _FORM)

"""`graft calibrate`: set the evidence floor of an index.

`graft ask`: search, abstain below the evidence floor, prompt, write, check citations.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files, limits
from ..errors import BadFile, BadInput
from ..models.language import load_writer
from ..rag.answer import Asker, Library, Stopwatch, open_library
from ..rag.evidence import LEAST_QUESTIONS, calibrate, find_calibration, save_calibration
from ..rag.results import Answer, Calibration
from ..requests.ask import Ask, Calibrate
from ..search.opening import hit_report
from ..types import Monitor


def run_ask(request: Ask, monitor: Monitor) -> Answer:
    """Answer a question.

    Raises:
        BadInput: no such index or writer, or a question that does not fit the budget.
        WriterFailed: the language model gave no whole answer.
    """
    watch = Stopwatch()
    with watch.time("open"):
        library = open_library(request.index, request.device)
    with library:
        with watch.time("open"):
            writer = load_writer(
                request.writer,
                model=request.writer_model,
                encoder=library.reader,
                max_tokens=request.max_tokens,
                timeout=request.timeout,
                device=request.device,
                seed=request.seed,
            )
        floor, calibration = _floor(request, library)
        asker = Asker(
            library, writer, floor, request.k, request.budget, request.mode, request.where
        )
        outcome = asker.ask(request.question, monitor, watch)
    reply = outcome.reply
    return Answer(
        question=request.question,
        answer=reply.text if reply else "",
        abstained=not (reply and reply.text),
        writer=writer.name,
        extractive=writer.extractive,
        evidence=outcome.evidence,
        evidence_floor=floor,
        calibration=calibration,
        citations=reply.citations if reply else [],
        removed_citations=reply.removed if reply else 0,
        uncited=reply.uncited if reply else 0,
        hits=[hit_report(hit) for hit in outcome.hits],
        dropped=list(reply.dropped) if reply else [],
        prompt=reply.prompt.text if reply and request.show_prompt else None,
        prompt_tokens=writer.count_tokens(reply.prompt.text) if reply else 0,
        seconds=watch.seconds,
    )


def _floor(request: Ask, library: Library) -> tuple[float, str]:
    """The evidence floor, and a line about where it comes from."""
    if request.k == 0:
        return 0.0, "none: with -k 0 no documents are looked at"
    if request.evidence is not None:
        return request.evidence, "given with --evidence"
    calibration, line = find_calibration(request.index, library.reader)
    return (calibration.floor if calibration else 0.0), line


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
    monitor.start("measuring evidence", len(questions))
    scores: dict[bool, list[float]] = {True: [], False: []}
    with open_library(request.index, request.device) as library:
        for asked in questions:
            hits = library.find(asked.question)
            scores[asked.answerable].append(library.weigh(asked.question, hits))
            monitor.advance()
        calibration = calibrate(
            scores[True],
            scores[False],
            request.false_answer_rate,
            library.reader,
            f"this index's own calibration ({request.file.name})",
        )
    save_calibration(request.index, calibration)
    return calibration


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

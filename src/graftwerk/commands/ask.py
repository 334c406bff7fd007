"""`graft calibrate`: set the evidence floor of an index.

`graft ask`: search, abstain below the evidence floor, prompt, write, check citations.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import limits
from ..data.tables import AS_FOUND, is_table, read_table
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
    table = read_table(path, AS_FOUND) if is_table(path) else None
    if table is None or not {"question", "answerable"} <= set(table.columns):
        raise BadInput(f"{path} has no columns question and answerable.", _FORM)
    rows = zip(table.places, table.columns["question"], table.columns["answerable"], strict=True)
    questions = [_question(text, said, f"{path}, {place}") for place, text, said in rows]
    for wanted, word in ((True, "answerable"), (False, "unanswerable")):
        count = sum(asked.answerable is wanted for asked in questions)
        if count < LEAST_QUESTIONS:
            raise BadInput(
                f"{path} has {count} {word} questions; at least {LEAST_QUESTIONS} are needed.",
                "Add more of them; with 100 of each kind the promise is worth something.",
            )
    return questions


def _question(text: Any, said: Any, where: str) -> Labelled:
    answerable = _TRUTH.get(str(said).strip().lower()) if said is not None else None
    if not isinstance(text, str) or not text.strip() or answerable is None:
        shown = f"{text!r}, {said!r}"[:80]
        raise BadInput(f"{where}: {shown} is no labelled question.", _FORM)
    if len(text) > limits.QUESTION_CHARACTERS:
        raise BadInput(
            f"{where}: a question of {len(text):,} characters; at most "
            f"{limits.QUESTION_CHARACTERS:,} are read.",
            "Shorten it.",
        )
    return Labelled(text, answerable)


_TRUTH = {"true": True, "false": False}

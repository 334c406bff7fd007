"""`graft eval answers`: figures of answers, with some paragraphs left out."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..contracts import Monitor, Silent
from ..frozen.encoders import load_encoder
from ..frozen.plain import CITATION
from ..frozen.writers import load_writer
from ..measure.answers import contains_answer, exact_match, token_f1
from ..reports import AnswersEvaluation
from ..requests import Ask, EvalAnswers
from ..steer.calibration import find_calibration
from .asking import Asker, Stopwatch, open_library
from .paragraphs import Paragraph, Question, build_index, read_paragraphs

_DEFAULTS = Ask.model_validate({"question": "?"})


def run(request: EvalAnswers, monitor: Monitor) -> AnswersEvaluation:
    """Leave paragraphs out by the seed, index the others, and ask every question.

    An answer that was not given counts as empty in `exact_match`, `f1` and `contains_answer`.

    Raises:
        BadInput: a malformed file, or an encoder or a writer that cannot be had.
        WriterFailed: the language model gave no whole answer.
    """
    begin = time.perf_counter()
    kept, left_out = _divide(read_paragraphs(request.file), request.held_out, request.seed)
    encoder = load_encoder(request.encoder, device=request.device)
    with tempfile.TemporaryDirectory(prefix="graftwerk-") as name:
        folder = Path(name) / "index"
        build_index(folder, kept, encoder, None, monitor)
        with open_library(folder, request.device) as library:
            writer = load_writer(
                request.writer,
                model=request.writer_model,
                encoder=library.reader,
                max_tokens=_DEFAULTS.max_tokens,
                timeout=_DEFAULTS.timeout,
                device=request.device,
                seed=request.seed,
            )
            calibration, line = find_calibration(folder, library.reader)
            monitor.note(f"evidence floor: {line}")
            floor = calibration.floor if calibration else 0.0
            answerable = [question for item in kept for question in item.questions]
            unanswerable = [question for item in left_out for question in item.questions]
            monitor.start("asking", len(answerable) + len(unanswerable))
            asker = Asker(library, writer, floor, request.k, _DEFAULTS.budget)
            given = [(_ask(asker, question, monitor), question.answers) for question in answerable]
            false_answers = [_ask(asker, question, monitor) for question in unanswerable]
    return AnswersEvaluation(
        encoder=encoder.name,
        writer=writer.name,
        answerable=len(answerable),
        unanswerable=len(unanswerable),
        share_answered=_mean([bool(answer) for answer, _ in given]),
        exact_match=_mean([exact_match(answer, right) for answer, right in given]),
        f1=_mean([token_f1(answer, right) for answer, right in given]),
        contains_answer=_mean([contains_answer(answer, right) for answer, right in given]),
        false_answer_rate=_mean([bool(answer) for answer in false_answers]),
        evidence_floor=floor,
        seconds=time.perf_counter() - begin,
    )


def _divide(
    paragraphs: Sequence[Paragraph], held_out: float, seed: int
) -> tuple[list[Paragraph], list[Paragraph]]:
    """Paragraphs to index and paragraphs to leave out; at least one is indexed."""
    count = min(round(held_out * len(paragraphs)), len(paragraphs) - 1)
    order = np.random.default_rng(seed).permutation(len(paragraphs))
    left_out = set(order[:count].tolist())
    return (
        [item for place, item in enumerate(paragraphs) if place not in left_out],
        [item for place, item in enumerate(paragraphs) if place in left_out],
    )


def _ask(asker: Asker, question: Question, monitor: Monitor) -> str:
    """The answer without its citations, empty where there is none."""
    outcome = asker.ask(question.text, Silent(), Stopwatch())
    monitor.advance()
    return CITATION.sub("", outcome.reply.text) if outcome.reply else ""


def _mean(values: Sequence[bool | float]) -> float:
    return sum(values) / len(values) if values else 0.0

"""`graft ask`: search, abstain below the evidence floor, prompt, write, check citations."""

from ..contracts import Monitor
from ..frozen.writers import load_writer
from ..reports import Answer
from ..requests import Ask
from ..steer.calibration import find_calibration
from .asking import Asker, Library, Stopwatch, open_library
from .opening import hit_report


def run(request: Ask, monitor: Monitor) -> Answer:
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

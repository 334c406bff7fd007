"""Find passages and images, ask, manage and calibrate indexes.

Images among the hits can be written as a contact sheet.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import limits
from ..data.images import open_image, write_image
from ..data.tables import AS_FOUND, Reading, is_table, read_table, reading_of
from ..errors import BadFile, BadInput, LimitExceeded, UnknownName, WriterFailed
from ..library.index import Index
from ..metrics.plots import image_sheet
from ..rag.evidence import LEAST_QUESTIONS
from ..rag.results import Answer, Calibration, ChatResult
from ..requests import search
from ..search.index import open_index
from ..search.results import Hit, IndexChange, IndexCheck, IndexState, SearchResult
from ..types import Monitor

if TYPE_CHECKING:
    from PIL.Image import Image


_SIDE, _GAP = 192, 8  # pixels: side of an image, gap between two
_MOST = 100  # maximum number of images on a contact sheet
_GONE = (224, 224, 224)
_NAME = 20  # most characters of a name


def run_search(request: search.Search, monitor: Monitor) -> SearchResult:
    """Return the passages and images that match a query."""
    if request.sheet is not None and request.sheet.suffix.lower() != ".png":
        raise UnknownName("ending of the sheet", request.sheet.suffix, [".png"])
    with Index(request.index, device=request.device) as index:
        found = index.search(**request.arguments("seed", "sheet"))
    for note in found.notes:
        monitor.note(note)
    if request.sheet is None or not any(hit.kind == "image" for hit in found):
        return found
    with closing(open_index(request.index)) as opened, opened.view() as view:
        indexed = view.files()
    _write_sheet(request.sheet, found.hits, indexed)
    return found.model_copy(update={"sheet": str(request.sheet)})


def _write_sheet(path: Path, hits: Sequence[Hit], indexed: Mapping[str, str]) -> None:
    """Write a PNG contact sheet; the labels are number of the hit, cosine and file name.

    A file that is not, or no longer, the image that was indexed is shown as a gray square: an index
    of any origin may name every path.
    """
    shown = [(n, hit) for n, hit in enumerate(hits, 1) if hit.kind == "image"][:_MOST]
    labels = [_label(number, hit) for number, hit in shown]
    tiles = [_tile(hit.path, indexed.get(hit.path, "")) for _, hit in shown]
    columns = math.ceil(math.sqrt(len(shown)))
    write_image(path, image_sheet(tiles, columns, below=labels, gap=_GAP))


def _label(number: int, hit: Hit) -> str:
    cosine = "" if hit.similarity is None else f"{hit.similarity:z.3f}  "
    name = Path(hit.path).name
    return f"{number}  {cosine}{name if len(name) <= _NAME else name[: _NAME - 1] + '…'}"


def _tile(path: str, content_hash: str) -> "Image":
    """Fit an image into the square; small images are enlarged without interpolation blur."""
    from PIL import Image

    with suppress(BadFile, LimitExceeded):
        opened = open_image(path)
        if opened.sha256 == content_hash:
            return _fitted(opened.image)
    return Image.new("RGB", (_SIDE, _SIDE), _GONE)


def _fitted(image: "Image") -> "Image":
    from PIL import Image

    scale = _SIDE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    how = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    return image.resize((width, height), how)


def run_index_add(request: search.IndexAdd, monitor: Monitor) -> IndexChange:
    """Add files and folders to an index; see `Index.add`."""
    with Index(
        request.index, encoder=request.encoder, layer=request.layer, device=request.device
    ) as index:
        return index.add(**request.arguments("encoder", "layer", "seed"), monitor=monitor)


def run_index_rebuild(request: search.IndexRebuild, monitor: Monitor) -> IndexChange:
    """Rebuild an index in one step; see `Index.rebuild`."""
    with Index(request.index, device=request.device) as index:
        return index.rebuild(**request.arguments("seed"), monitor=monitor)


def run_index_remove(request: search.IndexRemove, monitor: Monitor) -> IndexChange:
    """Remove files or whole folders from an index; see `Index.remove`."""
    with Index(request.index, device=request.device) as index:
        return index.remove(request.paths, monitor=monitor)


def run_index_status(request: search.IndexStatus, monitor: Monitor) -> IndexState:  # noqa: ARG001  done at once
    """Return the contents of an index; see `Index.status`."""
    with Index(request.index, device=request.device) as index:
        return index.status()


def run_index_verify(request: search.IndexVerify, monitor: Monitor) -> IndexCheck:
    """Check an index; see `Index.verify`."""
    with Index(request.index, device=request.device) as index:
        return index.verify(sources=request.sources, repair=request.repair, monitor=monitor)


def run_ask(request: search.Ask, monitor: Monitor) -> Answer:
    """Answer a question."""
    with Index(request.index, device=request.device) as index:
        return index.ask(**request.arguments(), monitor=monitor)


def run_chat(request: search.Chat, monitor: Monitor) -> ChatResult:
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
                monitor.note(error.text)
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


def run_calibrate(request: search.Calibrate, monitor: Monitor) -> Calibration:
    """Measure the evidence for every question and store the threshold in the index."""
    questions = read_questions(request.file, reading_of(request))
    with Index(request.index, device=request.device) as index:
        return index.calibrate(
            [one.text for one in questions if one.answerable],
            [one.text for one in questions if not one.answerable],
            sentences={one.text: one.sentence for one in questions if one.sentence},
            false_answer_rate=request.false_answer_rate,
            source=f"this index's own calibration ({request.file.name})",
            monitor=monitor,
        )


class Labeled(NamedTuple):
    """A question, whether the documents answer it, and words of the sentence that does."""

    text: str
    answerable: bool
    sentence: str = ""


def read_questions(path: Path, reading: Reading = AS_FOUND) -> list[Labeled]:
    """Read a file of questions; one of `graft eval answers` too."""
    if not path.is_file():
        raise BadFile(f"{path} is not a file.", "Name an existing file of JSON lines.")
    limits.require_file_size(path, limits.JSON_FILE, "question file")
    try:
        table = read_table(path, reading) if is_table(path) else None
    except BadFile:
        raise
    except BadInput as error:
        raise BadInput(f"{path} has 0 answerable questions: {error.message}", _FORM) from error
    columns = {} if table is None else table.columns
    truths = columns.get("answerable", columns.get("answers"))
    if table is None or "question" not in columns or truths is None:
        raise BadInput(f"{path} has no columns question and answerable.", _FORM)
    sentences = columns.get("sentence", [None] * len(table.places))
    rows = zip(table.places, columns["question"], truths, sentences, strict=True)
    questions = [
        _question(text, predicted, sentence, f"{path}, {location}")
        for location, text, predicted, sentence in rows
    ]
    for requested, word in ((True, "answerable"), (False, "unanswerable")):
        count = sum(one.answerable is requested for one in questions)
        if count < LEAST_QUESTIONS:
            raise BadInput(
                f"{path} has {count} {word} questions; at least {LEAST_QUESTIONS} are needed.",
                "Add more of them; with 100 of each kind the promise is worth something.",
            )
    return questions


def _question(text: Any, predicted: Any, sentence: Any, where: str) -> Labeled:
    if isinstance(predicted, list):  # the answers, in a file of `graft eval answers`
        answerable: bool | None = bool(predicted)
    else:
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
    words = sentence.strip() if isinstance(sentence, str) and answerable else ""
    return Labeled(text, answerable, words)


_TRUTH = {"true": True, "false": False}

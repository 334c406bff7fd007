"""`graft eval retrieval`: figures of search on paragraphs with questions."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ..contracts import Hit, Monitor
from ..frozen.encoders import load_encoder
from ..frozen.remembering import Remembering
from ..measure.retrieval import retrieval_figures
from ..reports import RetrievalEvaluation
from ..requests import EvalRetrieval, Mode
from ..search.engine import search
from ..search.index import open_index
from .paragraphs import build_index, document_path, read_paragraphs

_DEPTH = 100  # passages looked at; a paragraph not among them has no rank


def run(request: EvalRetrieval, monitor: Monitor) -> RetrievalEvaluation:
    """Index the paragraphs in a temporary folder and search for each question in each mode.

    Raises:
        BadInput: a malformed file, or an encoder that cannot be had.
    """
    begin = time.perf_counter()
    paragraphs = read_paragraphs(request.file)
    encoder = load_encoder(request.encoder, layer=request.layer, device=request.device)
    rescorer = None
    if encoder.rescorer is not None:
        rescorer = Remembering(load_encoder(encoder.rescorer, device=request.device))
    asked = [
        (question, number)
        for number, paragraph in enumerate(paragraphs)
        for question in paragraph.questions
    ]
    with tempfile.TemporaryDirectory(prefix="graftwerk-") as name:
        folder = Path(name) / "index"
        embedding_seconds = build_index(folder, paragraphs, encoder, request.layer, monitor)
        finder = Remembering(encoder)
        for known in (finder, rescorer):
            if known is not None:  # one batch for all questions
                known.encode_texts([question.text for question, _ in asked], role="query")
        modes = {}
        with open_index(folder) as index:
            monitor.start("searching", len(asked) * len(get_args(Mode)))
            for mode in get_args(Mode):
                ranks = []
                for question, number in asked:
                    found = search(
                        index, finder, question.text, k=_DEPTH, mode=mode, rescorer=rescorer
                    )
                    ranks.append(_rank(found.hits, document_path(folder, number)))
                    monitor.advance()
                modes[mode] = retrieval_figures(ranks)
    return RetrievalEvaluation(
        encoder=encoder.name,
        documents=len(paragraphs),
        questions=len(asked),
        modes=modes,
        documents_per_second=len(paragraphs) / max(embedding_seconds, 1e-9),
        seconds=time.perf_counter() - begin,
    )


def _rank(hits: Sequence[Hit], right: str) -> int | None:
    """Rank of the document `right`, where a document stands at its best passage."""
    paths = list(dict.fromkeys(hit.passage.path for hit in hits))
    return paths.index(right) + 1 if right in paths else None

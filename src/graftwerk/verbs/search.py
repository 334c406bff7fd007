"""`graft search`: find passages and pictures."""

import time

import numpy as np

from ..contracts import Monitor
from ..errors import UnknownName
from ..reports import SearchResult
from ..requests import Search
from ..search.engine import search
from .hit_sheet import write_sheet
from .opening import hit_report, open_for_search
from .pictures import familiarity


def run(request: Search, monitor: Monitor) -> SearchResult:  # noqa: ARG001  too short to report on
    """Find what answers a query.

    Raises:
        BadInput: a malformed condition, or a query that the index's encoder cannot read.
        BadFile: there is no index, its encoder cannot be loaded, or a picture is not there.
        NoRoom: the sheet cannot be written.
        WrongBase: the encoder of that name is not the one that made the index.
    """
    begin = time.perf_counter()
    if request.sheet is not None and request.sheet.suffix.lower() != ".png":
        raise UnknownName("ending of the sheet", request.sheet.suffix, [".png"])
    index, encoder, rescorer = open_for_search(request.index, request.mode, request.device)
    with index:
        outcome = search(
            index,
            encoder,
            request.query,
            k=request.k,
            mode=request.mode,
            exact=request.exact,
            where=request.where,
            rescorer=rescorer,
        )
    shown = [hit for hit in outcome.hits if hit.passage.kind == "image"]
    if request.sheet is not None and shown:
        write_sheet(request.sheet, outcome.hits)
    told = None
    if outcome.distance is not None and encoder is not None:
        told = familiarity(encoder, np.array([outcome.distance]))
    return SearchResult(
        query=request.query,
        mode=request.mode,
        hits=[hit_report(hit) for hit in outcome.hits],
        searched=outcome.searched,
        pictures=outcome.pictures,
        familiarity=told[0] if told else None,
        sheet=str(request.sheet) if request.sheet is not None and shown else None,
        seconds=time.perf_counter() - begin,
    )

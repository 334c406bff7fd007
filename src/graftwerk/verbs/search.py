"""`graft search`: find passages and pictures."""

import time

from ..contracts import Monitor
from ..reports import SearchResult
from ..requests import Search
from ..search.engine import search
from .opening import hit_report, open_for_search


def run(request: Search, monitor: Monitor) -> SearchResult:  # noqa: ARG001  too short to report on
    """Find what answers a query.

    Raises:
        BadInput: a malformed condition, or a query that the index's encoder cannot read.
        BadFile: there is no index, or its encoder cannot be loaded.
        WrongBase: the encoder of that name is not the one that made the index.
    """
    begin = time.perf_counter()
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
    return SearchResult(
        query=request.query,
        mode=request.mode,
        hits=[hit_report(hit) for hit in outcome.hits],
        searched=outcome.searched,
        seconds=time.perf_counter() - begin,
    )

"""`graft index`: add, verify, rebuild, remove, status; see `library.index`."""

from ..library.index import Index
from ..requests.search import IndexAdd, IndexRebuild, IndexRemove, IndexStatus, IndexVerify
from ..search.results import IndexChange, IndexCheck, IndexState
from ..types import Monitor


def run_index_add(request: IndexAdd, monitor: Monitor) -> IndexChange:
    """Store files and folders; see `Index.add`."""
    with Index(
        request.index, encoder=request.encoder, layer=request.layer, device=request.device
    ) as index:
        return index.add(
            request.paths,
            header=request.header,
            separator=request.separator,
            decimal=request.decimal,
            encoding=request.encoding,
            monitor=monitor,
        )


def run_index_rebuild(request: IndexRebuild, monitor: Monitor) -> IndexChange:
    """Make an index again, in one step; see `Index.rebuild`."""
    with Index(request.index, device=request.device) as index:
        return index.rebuild(encoder=request.encoder, layer=request.layer, monitor=monitor)


def run_index_remove(request: IndexRemove, monitor: Monitor) -> IndexChange:
    """Take files or whole folders out; see `Index.remove`."""
    with Index(request.index, device=request.device) as index:
        return index.remove(request.paths, monitor=monitor)


def run_index_status(request: IndexStatus, monitor: Monitor) -> IndexState:  # noqa: ARG001  done at once
    """Return what an index holds; see `Index.status`."""
    with Index(request.index, device=request.device) as index:
        return index.status()


def run_index_verify(request: IndexVerify, monitor: Monitor) -> IndexCheck:
    """Check an index; see `Index.verify`."""
    with Index(request.index, device=request.device) as index:
        return index.verify(sources=request.sources, repair=request.repair, monitor=monitor)

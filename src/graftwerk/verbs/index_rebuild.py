"""`graft index rebuild`: vectors, full text and snapshot anew."""

import time

from ..contracts import Monitor
from ..frozen.encoders import load_encoder
from ..reports import IndexChange
from ..requests import IndexRebuild
from ..search.index import Index, describe_base, open_index
from ..search.passages import CHUNKER_VERSION
from ..search.rebuild import renew
from ..search.tally import Tally
from .opening import change_report, lasting_name


def run(request: IndexRebuild, monitor: Monitor) -> IndexChange:
    """Make an index anew, in one step: until it is done, searches see the former one.

    With another encoder everything is embedded again; where this version cuts passages another
    way, the files are read again. Else full text, snapshot and checksums are written anew.

    Raises:
        BadFile: there is no index, or the encoder cannot be loaded.
        BadInput: the encoder reads none of its files.
        Busy: another process writes to it for too long.
        NoRoom: the disk is full; the index is as it was.
        Cancelled: the monitor stopped it; the index is as it was.
    """
    begin = time.perf_counter()
    with open_index(request.index) as index:
        with index.view() as view:
            tally = Tally(unchanged=view.count_files())
        changes_encoder = request.encoder is not None or request.layer is not None
        if changes_encoder or index.chunker != CHUNKER_VERSION:
            tally = _renew(request, index, monitor)
        else:
            monitor.start("making the full text anew")
            index.rebuild_words()
        monitor.start("writing the snapshot")
        index.refresh()
        return change_report(index, tally, begin)


def _renew(request: IndexRebuild, index: Index, monitor: Monitor) -> Tally:
    name, layer = index.encoder_name, index.layer
    if request.encoder is not None or request.layer is not None:
        name, layer = lasting_name(request.encoder or name), request.layer
    encoder = load_encoder(name, layer=layer, device=request.device)
    return renew(index, encoder, describe_base(encoder, name, layer), monitor)

"""`graft index add`: files into an index."""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from ..contracts import Encoder, Monitor
from ..errors import Cancelled
from ..frozen.encoders import load_encoder
from ..reports import IndexChange
from ..requests import DEFAULT_ENCODER, IndexAdd
from ..search.add import Intake, require_something
from ..search.database import is_whole, require_free
from ..search.index import Index, create_or_open, describe_base, open_index
from ..search.walk import list_files, names_of
from .opening import change_report, lasting_name


def run(request: IndexAdd, monitor: Monitor) -> IndexChange:
    """Store files and folders; only what is new or changed is read and embedded.

    Files that vanished from a named folder are taken out. A file that was stored before and
    cannot be read now keeps its former passages, and is reported.

    Raises:
        BadInput: there is no file to read, or none that can be stored in a new index.
        BadFile: a path does not exist, or the folder cannot be an index.
        WrongBase: the index was made with another encoder.
        Busy: another process writes to it for too long.
        NoRoom: the disk is full; what was stored before is whole.
        Cancelled: the monitor stopped it; what was stored before that is kept.
    """
    begin = time.perf_counter()
    found = list_files(request.paths)
    with ExitStack() as stack:
        index = None
        if is_whole(request.index):
            index = stack.enter_context(open_index(request.index))
        else:
            require_free(request.index)
        name, layer = _choose_encoder(request, index)

        @cache
        def load() -> Encoder:
            encoder = load_encoder(name, layer=layer, device=request.device)
            if index is not None:
                index.require_base(describe_base(encoder, name, layer))
            return encoder

        def make() -> Index:
            return stack.enter_context(create_or_open(request.index, load(), name, layer))

        if index is not None and (name, layer) != (index.encoder_name, index.layer):
            load()  # another name may still mean the same weights
        stored = {} if index is None else _stored_files(index)
        intake = Intake(index, make, load, monitor)
        intake.tally.skipped.extend(found.skipped)
        try:
            intake.add(_outside(found.files, request.index), stored)
            intake.remove_vanished(_folders(request.paths), stored)
        except Cancelled:
            if intake.index is not None and intake.tally.wrote:
                intake.index.refresh()
            raise
        if intake.index is None or not (found.files or intake.tally.removed):
            raise require_something(request.paths, intake.tally.skipped)
        if intake.tally.wrote or not intake.index.is_fresh():
            monitor.start("writing the snapshot")
            intake.index.refresh()
        return change_report(intake.index, intake.tally, begin)


def _choose_encoder(request: IndexAdd, index: Index | None) -> tuple[str, int | None]:
    if index is not None and request.encoder is None and request.layer is None:
        return index.encoder_name, index.layer
    default = index.encoder_name if index is not None else DEFAULT_ENCODER
    return lasting_name(request.encoder or default), request.layer


def _stored_files(index: Index) -> dict[str, str]:
    with index.view() as view:
        return view.files()


def _outside(paths: Sequence[str], folder: Path) -> list[str]:
    """The paths that are not in the index's own folder."""
    inside = tuple(f"{name}{os.sep}" for name in names_of(str(folder)))
    return [path for path in paths if not path.startswith(inside)]


def _folders(paths: Sequence[str]) -> list[str]:
    """The folders among `paths`, absolute, under both of their names where one is a link."""
    named = [path for path in paths if os.path.isdir(path)]  # noqa: PTH112  a name of any bytes
    return [name for path in named for name in names_of(path)]

"""`graft index add`: files into an index.

`graft index verify`: check every stored text, vector and byte; mend what can be mended.

`graft index rebuild`: vectors, full text and snapshot anew.

`graft index remove`: files and folders out of an index.

`graft index status`: what an index holds.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from ..data.walk import list_files, names_of
from ..errors import BadFile, BadInput, Cancelled, Damaged
from ..models.encoders import load_encoder
from ..rag.evidence import find_calibration
from ..requests.base import DEFAULT_ENCODER
from ..requests.search import IndexAdd, IndexRebuild, IndexRemove, IndexStatus, IndexVerify
from ..results import Skipped
from ..search.chunking import CHUNKER_VERSION
from ..search.database import FORMAT_VERSION, check_seal, is_sealed, is_whole, require_free
from ..search.index import Index, create_or_open, describe_base, open_index
from ..search.ingest import Intake, Tally, require_something
from ..search.opening import change_report, lasting_name, load_own_encoder
from ..search.rebuild import renew
from ..search.results import Damage, IndexChange, IndexCheck, IndexState
from ..search.verify import Findings, compare_sources, examine, repair
from ..types import Encoder, Monitor


def run_index_add(request: IndexAdd, monitor: Monitor) -> IndexChange:
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


def run_index_rebuild(request: IndexRebuild, monitor: Monitor) -> IndexChange:
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


def run_index_remove(request: IndexRemove, monitor: Monitor) -> IndexChange:
    """Take files or whole folders out; the files themselves stay, and need not be there.

    Raises:
        BadFile: there is no index, or none of the paths is in it.
        Busy: another process writes to it for too long.
        NoRoom: the folder cannot be written; nothing was taken out.
    """
    begin = time.perf_counter()
    tally = Tally()
    with open_index(request.index) as index:
        with index.view() as view:
            stored = view.files()
        chosen: dict[str, None] = {}
        for path in request.paths:
            found = _find(path, stored)
            chosen.update(dict.fromkeys(found))
            if not found:
                tally.skipped.append(Skipped(path=path, reason="is not in the index."))
        if not chosen:
            raise BadFile(
                f"{', '.join(request.paths)}: not in the index {request.index}.",
                "Paths are those that `graft search` shows; a folder takes out all in it.",
            )
        monitor.start("taking out", len(chosen))
        tally.removed = index.remove(list(chosen))
        tally.unchanged = len(stored) - tally.removed
        index.refresh()
        return change_report(index, tally, begin)


def _find(path: str, stored: Mapping[str, str]) -> list[str]:
    """The stored files that a path names: itself, or all in it."""
    places = set(names_of(path))
    inside = tuple(place.rstrip(os.sep) + os.sep for place in places)
    return [name for name in stored if name in places or name.startswith(inside)]


def run_index_status(request: IndexStatus, monitor: Monitor) -> IndexState:  # noqa: ARG001  done at once
    """Tell what an index holds and with which encoder it was made.

    Raises:
        BadFile: there is no index.
        Damaged: its database cannot be read.
    """
    with open_index(request.index) as index, index.view() as view:
        return IndexState(
            index=str(request.index.resolve()),
            files=view.count_files(),
            passages=view.count_passages(),
            pictures=view.count_pictures(),
            encoder=index.encoder_name,
            fingerprint=index.fingerprint,
            dimension=index.dimension,
            format_version=FORMAT_VERSION,
            bytes=sum(path.stat().st_size for path in request.index.iterdir() if path.is_file()),
            sealed=index.sealed,
            calibrated=_describe_calibration(index, request.device),
        )


def _describe_calibration(index: Index, device: str) -> str:
    try:
        encoder = load_own_encoder(index, device)
    except BadInput as error:
        return f"unknown: {error.message}"
    _, line = find_calibration(index.folder, encoder)
    return line


def run_index_verify(request: IndexVerify, monitor: Monitor) -> IndexCheck:
    """Check an index, mend it with `repair`, compare it with its files with `sources`.

    Raises:
        BadFile: there is no index.
        Damaged: it is to be mended, but its database cannot be opened.
        Busy: another process writes to it for too long.
    """
    begin = time.perf_counter()
    sealed = is_sealed(request.index)
    findings, broken = _check(request.index, monitor)
    damages = findings.damages
    if request.repair and damages:
        if broken is not None:
            raise Damaged(
                f"the index {request.index} cannot be repaired: {broken.message}",
                f"Your files are the truth: delete the folder and run: graft index add PATH... "
                f"--index {request.index}",
            ) from broken
        with open_index(request.index) as index:

            def load() -> Encoder:
                return load_own_encoder(index, request.device)

            repair(index, findings, load, monitor)
        again, _ = _check(request.index, monitor)
        damages = _mark_repaired(damages, again.damages)
        findings = again
    sources = None
    if request.sources and broken is None:
        with open_index(request.index) as index, index.view() as view:
            stored = view.files()
        sources = compare_sources(stored, monitor)
    return IndexCheck(
        passages=findings.passages,
        sound=all(damage.repaired for damage in damages),
        sealed=sealed,
        recall_at_10=findings.recall,
        damages=damages,
        sources=sources,
        seconds=time.perf_counter() - begin,
    )


def _check(folder: Path, monitor: Monitor) -> tuple[Findings, BadFile | Damaged | None]:
    """Everything that is wrong; the error too where the database cannot be opened."""
    blocks = check_seal(folder)
    try:
        index = open_index(folder)
    except (BadFile, Damaged) as error:
        if not blocks and isinstance(error, BadFile):
            raise
        blocks.append(Damage(where=str(folder), what=str(error), repaired=False))
        return Findings(damages=blocks), error
    with index:
        findings = examine(index, monitor)
    findings.damages[:0] = blocks
    return findings, None


def _mark_repaired(before: list[Damage], after: list[Damage]) -> list[Damage]:
    """What was wrong, marked as mended where it is no longer; and what is wrong now besides."""
    left = {(damage.where, damage.what) for damage in after}
    known = {(damage.where, damage.what) for damage in before}
    return [
        damage.model_copy(update={"repaired": (damage.where, damage.what) not in left})
        for damage in before
    ] + [damage for damage in after if (damage.where, damage.what) not in known]

"""`graft index verify`: check every stored text, vector and byte; mend what can be mended."""

import time
from pathlib import Path

from ..contracts import Encoder, Monitor
from ..errors import BadFile, Damaged
from ..reports import Damage, IndexCheck
from ..requests import IndexVerify
from ..search.check import Findings, examine
from ..search.index import open_index
from ..search.repair import repair
from ..search.seal import check_seal, is_sealed
from ..search.sources import compare_sources
from .opening import load_own_encoder


def run(request: IndexVerify, monitor: Monitor) -> IndexCheck:
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

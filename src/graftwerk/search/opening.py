"""What several verbs do first and last: open an index with its encoder, report a hit."""

import time
from pathlib import Path

from ..errors import BadFile, BadInput, WrongBase
from ..models.encoders import load_encoder
from ..types import Encoder, Hit
from .index import Index, open_index
from .ingest import Tally
from .results import HitReport, IndexChange


def open_for_search(
    folder: Path, mode: str, device: str
) -> tuple[Index, Encoder | None, Encoder | None]:
    """Open an index with the encoder that made it.

    Args:
        folder: folder of the index.
        mode: `text` needs no encoder.
        device: where the encoders run.

    Returns:
        The index; its encoder, None in text mode; the encoder that orders the first hits anew
        where the index's own is a stand-in for it, else None.

    Raises:
        BadFile: there is no index, or its encoder cannot be loaded.
        WrongBase: the encoder of that name is not the one that made the index.
        Damaged: the database cannot be read.
    """
    index = open_index(folder)
    if mode == "text":
        return index, None, None
    try:
        encoder = load_own_encoder(index, device)
        rescorer = load_encoder(encoder.rescorer, device=device) if encoder.rescorer else None
    except BaseException:
        index.close()
        raise
    return index, encoder, rescorer


def load_own_encoder(index: Index, device: str) -> Encoder:
    """Load the encoder that made an index.

    Raises:
        BadFile: it cannot be loaded.
        WrongBase: the weights of that name are others now.
    """
    try:
        encoder = load_encoder(index.encoder_name, layer=index.layer, device=device)
    except BadInput as error:
        raise BadFile(
            f"the encoder of the index {index.folder} cannot be loaded: {error.message}",
            f"{_way_back(index.encoder_name)}, or change the index: "
            "graft index rebuild --encoder NAME --index "
            f"{index.folder}; `graft search --mode text` works without it.",
        ) from error
    if encoder.fingerprint != index.fingerprint:
        raise WrongBase(
            f"the index {index.folder}",
            f"encoder {index.encoder_name} with fingerprint {index.fingerprint[:12]}",
            f"the {encoder.name} that is here now, with fingerprint {encoder.fingerprint[:12]}",
            f"Run: graft index rebuild --encoder {encoder.name} --index {index.folder}",
        )
    return encoder


def _way_back(name: str) -> str:
    """How an encoder that an index names is had again; an index itself fetches nothing."""
    if "@" in name and not Path(name).is_absolute():
        return f"Fetch it: graft models info {name}"
    return "Put it back"


def lasting_name(name: str) -> str:
    """An encoder's name that still holds in another working folder: its path made absolute."""
    prefix, colon, rest = name.rpartition(":")
    folder = Path(rest).expanduser()
    return f"{prefix}{colon}{folder.resolve()}" if folder.is_dir() else name


def hit_report(hit: Hit) -> HitReport:
    """A hit as reports show it."""
    passage = hit.passage
    return HitReport(
        path=passage.path,
        kind=passage.kind,
        heading=passage.heading,
        line=passage.line,
        page=passage.page,
        start=passage.start,
        end=passage.end,
        score=hit.score,
        similarity=hit.similarity,
        vector_rank=hit.vector_rank,
        text_rank=hit.text_rank,
        text=passage.text,
        marks=list(hit.marks),
    )


def change_report(index: Index, tally: Tally, begin: float) -> IndexChange:
    """What a verb that writes did; `begin` is its start by `time.perf_counter`."""
    with index.view() as view:
        passages = view.count_passages()
    return IndexChange(
        added=tally.added,
        changed=tally.changed,
        unchanged=tally.unchanged,
        removed=tally.removed,
        skipped=tally.skipped,
        passages=passages,
        embedded=tally.embedded,
        reused=tally.reused,
        unfamiliar=tally.unfamiliar,
        converted=dict(tally.converted.counts),
        encoder=index.encoder_name,
        seconds=time.perf_counter() - begin,
    )

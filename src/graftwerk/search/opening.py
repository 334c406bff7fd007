"""From an index to the encoder that made it."""

from collections.abc import Callable
from pathlib import Path

from ..errors import BadFile, BadInput, WrongBase
from ..types import Encoder
from .index import Index

Load = Callable[[str, int | None], Encoder]  # name and hidden layer to encoder


def load_own_encoder(index: Index, load: Load) -> Encoder:
    """Load the encoder that made an index.

    Raises:
        BadFile: it cannot be loaded.
        WrongBase: the weights of that name are others now.
    """
    try:
        encoder = load(index.encoder_name, index.layer)
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

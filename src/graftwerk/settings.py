"""Settings from the environment: cache folder, device, offline mode, threads.

The only module of the package that reads or sets variables of the environment.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import BadInput

_MOST_THREADS = 1024

# What libraries tell their makers, or note down about this machine, unless a variable forbids it.
_NO_TELEMETRY = {
    # onnxruntime: from the first session on, events over HTTPS to its maker, about 25 seconds later
    # at the latest, and a device id with a database of events below ~/.cache/Microsoft. Its
    # function disable_telemetry_events() stops neither.
    "ORT_DISABLE_TELEMETRY": "1",
    # huggingface_hub, and through it transformers, diffusers, peft, sentence-transformers: pings of
    # use, and versions, sessions and model configurations in the user agent of each download, and
    # a question to its hub, {ENDPOINT}/api/agent-harnesses, to say which program calls. It obeys
    # DO_NOT_TRACK too, which is not set here: it would outvote a user's own choice.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # chromadb, which is measured beside: events of use.
    "ANONYMIZED_TELEMETRY": "False",
}


def forbid_telemetry() -> None:
    """Disable the telemetry of libraries; what the user has set explicitly stays.

    Called when the package is imported. Processes that are started later inherit it.
    """
    for name, value in _NO_TELEMETRY.items():
        os.environ.setdefault(name, value)
    hub = sys.modules.get("huggingface_hub.constants")  # imported before, it has read the variable
    if hub is not None and os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1":
        vars(hub)["HF_HUB_DISABLE_TELEMETRY"] = True


def use_one_numeric_thread() -> None:
    """Keep NumPy's library of linear algebra from reserving memory for each core.

    To be called before NumPy is imported, by a process whose address space is limited.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"


@dataclass(frozen=True, slots=True)
class Settings:
    """Environment of this process.

    Attributes:
        cache: folder for what can be made again: exported graphs, distilled encoders, features.
        offline: when true no hub is asked, even for a hub id that was named.
        threads: cores used for arithmetic.
        writer_key: bearer token sent to an OpenAI-compatible server; empty when none is needed.
        leads: false in all but the first of several processes that torchrun started.
    """

    cache: Path
    offline: bool
    threads: int
    writer_key: str
    leads: bool = True


def _available_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity call
        return os.cpu_count() or 1


def _threads(value: str) -> int:
    if not value:
        return _available_cores()
    # int() takes digits of every script, signs and underscores, and refuses long numbers only
    if value.isascii() and value.isdigit() and len(value) <= 4 and 1 <= int(value) <= _MOST_THREADS:
        return int(value)
    raise BadInput(
        f"the variable GRAFTWERK_THREADS is {value[:40]!r}; allowed is a whole number from 1 to "
        f"{_MOST_THREADS:,}.",
        "Set it to a number of cores, or unset it.",
    )


def _cache_folder(environment: Mapping[str, str]) -> Path:
    named = environment.get("GRAFTWERK_CACHE")
    if named:
        return Path(named)
    home_cache = environment.get("XDG_CACHE_HOME")
    if home_cache:
        return Path(home_cache) / "graftwerk"
    try:
        return Path.home() / ".cache" / "graftwerk"
    except RuntimeError as error:
        raise BadInput(
            "this user has no home folder, so there is no place for the cache.",
            "Name a folder in the variable GRAFTWERK_CACHE.",
        ) from error


@cache
def settings() -> Settings:
    """Read the environment once: `GRAFTWERK_CACHE`, `GRAFTWERK_THREADS`, `HF_HUB_OFFLINE`, ...

    Raises:
        BadInput: a variable has a value that is not possible.
    """
    environment = os.environ
    return Settings(
        cache=_cache_folder(environment),
        offline=environment.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"},
        threads=_threads(environment.get("GRAFTWERK_THREADS", "").strip()),
        writer_key=environment.get("OPENAI_API_KEY", ""),
        leads=environment.get("RANK", "0") == "0",
    )

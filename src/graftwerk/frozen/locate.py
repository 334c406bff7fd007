"""From a model's name to its folder: built in, local, or on the Hugging Face hub.

The hub is asked only for a name with a revision (`owner/name@revision`) that is not in the local
cache yet, and only when the settings do not say offline.
"""

import re
from pathlib import Path

from ..errors import BadFile, Failure
from ..settings import settings
from .builtin import BUILTIN, PREFIX, builtin_folder

_HUB_ID = re.compile(r"(?P<repository>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?", re.ASCII)
_READ_FROM_HUB = ["*.json", "*.safetensors", "*.txt", "*.model"]


def locate(name: str) -> Path:
    """Return the folder of the model called `name`.

    Raises:
        UnknownName: a `builtin/` name that is not there.
        BadFile: neither a folder nor a hub id, or a hub id that cannot be had.
        Failure: the hub does not answer.
    """
    if name.startswith(PREFIX):
        return builtin_folder(name)
    path = Path(name).expanduser()
    if name and path.is_dir():
        return path.resolve()
    if path.is_file():
        raise BadFile(f"model {name!r} is a file, not a folder.", "Name the folder that holds it.")
    match = _HUB_ID.fullmatch(name)
    if match is None or (match["revision"] is None and "/" not in name):
        raise BadFile(
            f"model {name!r} is neither a built-in name nor a folder that exists.",
            f"Name {', '.join(BUILTIN)} or static, an existing folder, or a hub id "
            "owner/name@revision.",
        )
    return _from_hub(name, match["repository"], match["revision"])


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
    if settings().offline:
        raise BadFile(
            f"model {name!r} is not in the local cache, and HF_HUB_OFFLINE forbids asking the hub.",
            "Unset HF_HUB_OFFLINE once to fetch it, or copy its folder here and name that.",
        )
    fetched = _snapshot(name, repository, revision, local_only=False)
    if fetched is None:
        raise Failure(f"the hub did not deliver {name!r}.", "Check the network, then try again.")
    return fetched


def _holds_a_model(folder: Path) -> bool:
    """Whether a snapshot holds weights: of one model, or of a pipeline's parts."""
    if (folder / "model_index.json").exists():
        return any(folder.glob("*/*.safetensors"))
    return (folder / "config.json").exists() and any(folder.glob("*.safetensors"))


def _snapshot(name: str, repository: str, revision: str | None, local_only: bool) -> Path | None:
    """The snapshot's folder; None where it is not cached or the hub cannot be reached."""
    import httpx
    from huggingface_hub import errors, snapshot_download

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
        raise BadFile(f"{name!r} is no hub id: {error}.", "Write owner/name@revision.") from None
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, httpx.HTTPError, OSError):
        return None
    return Path(folder)

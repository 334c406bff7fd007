"""Saved forecasters: what was learned from a series, and the base model."""

from pathlib import Path

import torch

from .. import files, folders
from ..adapters.lora import LowRank, install_adapter
from ..adapters.manifest import RECORD, is_replaceable, read_bundle, require_base, write_bundle
from ..adapters.peft_format import read_adapter, require_fit
from ..errors import BadFile
from ..models.checkpoint import check_safetensors
from ..models.hub import require_reachable
from .forecasters import NetworkForecaster, open_forecaster
from .tune import Tuned

KIND = "forecast"
_WEIGHTS = "learned.safetensors"


def is_saved(name: str) -> bool:
    """Whether a name is that of a folder written by `save`."""
    path = Path(name).expanduser() / RECORD
    if not path.is_file():
        return False
    record = files.read_json(path)
    return isinstance(record, dict) and record.get("kind") == KIND


def require_free(folder: Path) -> None:
    """Refuse a folder that contains something else.

    Raises:
        BadFile: it does.
    """
    folders.require_replaceable(folder, "forecaster", verify=_is_ours)


def save(folder: Path, base: NetworkForecaster, tuned: Tuned) -> None:
    """Save the learned weights, and only those, atomically.

    Raises:
        BadFile, NoRoom: the folder contains something else, or cannot be written.
    """
    from safetensors.torch import save as to_bytes

    content = {"method": tuned.method, "share": tuned.share, "about": tuned.describe()}
    with folders.working_folder(folder, _is_ours) as working:
        if tuned.steer is not None:
            tuned.steer.write_into(working, base.name)
        else:
            weights = {name: one.cpu().contiguous() for name, one in tuned.weights.items()}
            files.write_plain(working / _WEIGHTS, to_bytes(weights))
        write_bundle(working, KIND, _named(base.name), base.fingerprint, content)


def open_saved(name: str, device: str) -> tuple[NetworkForecaster, str]:
    """Load a saved forecaster and return it with the method that it was fitted with.

    Raises:
        BadFile: the folder is not a saved forecaster, or its base model does not exist.
        WrongBase: the base model is not the one it was fitted on; the message names both.
        Damaged: a file does not match its checksum.
    """
    from safetensors.torch import load_file

    folder = Path(name).expanduser().absolute()
    bundle = read_bundle(folder, KIND)
    require_reachable(bundle.base_name, "--model")
    model = open_forecaster(bundle.base_name, device)
    require_base(bundle, model.name, model.fingerprint)
    try:
        method, share = str(bundle.content["method"]), float(bundle.content["share"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(f"{folder / RECORD} is not that of a forecast.", "Copy it again.") from error
    if method == "lora":
        _steer(folder, model).scale = share
    else:
        check_safetensors(folder / _WEIGHTS)
        _put(model, load_file(folder / _WEIGHTS), folder)
    model.name = name
    return model, method


def _steer(folder: Path, model: NetworkForecaster) -> LowRank:
    adapter = read_adapter(folder)
    require_fit(adapter, folder, model.network, model.name)
    return install_adapter(model.network, adapter, model.fingerprint)


def _put(model: NetworkForecaster, weights: dict[str, torch.Tensor], folder: Path) -> None:
    parameters = dict(model.network.named_parameters())
    with torch.no_grad():
        for name, one in weights.items():
            if name not in parameters or parameters[name].shape != one.shape:
                raise BadFile(
                    f"{folder / _WEIGHTS} does not fit {model.name}: {name!r}.", "Fit it again."
                )
            parameters[name].copy_(one)


def _is_ours(folder: Path) -> bool:
    return is_replaceable(folder, KIND)


def _named(name: str) -> str:
    path = Path(name).expanduser()
    return str(path.absolute()) if path.is_dir() else name

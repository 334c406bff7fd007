"""Construction of transformers networks from validated folders, without terminal output.

The class comes from the library's own tables by `model_type`, never from the folder's files, and
weights are read only from safetensors files.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import BadFile, BadInput
from ..folders import contents
from . import timm
from .checkpoint import ModelFolder, count_parameters
from .hub import no_hub

if TYPE_CHECKING:
    import torch


# The encoder of text models whose main class also has a decoder.
_ENCODER_ONLY = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
_ENCODERS = ("bert", "electra", "ernie", "roformer", "big_bird", "data2vec")


def causal_class(folder: ModelFolder) -> str | None:
    """Return the class that continues texts with a folder's network; None for an encoder."""
    kind, config = folder.model_type, folder.config
    if any(word in kind for word in _ENCODERS) and not config.get("is_decoder"):
        return None
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind)


# A network may have tensors that are not in its files, such as masks, or hold a part twice.
_MOST_TIMES, _BESIDE_WEIGHTS = 4, 16_000_000


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the transformers library from writing to the terminal and from contacting a hub.

    Some configuration fields make its loaders fetch files, `local_files_only` or not: a backbone,
    a list of class names.
    """
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with no_hub():
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def choose_device(device: str) -> str:
    """Return the PyTorch device for `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        BadInput: the device asked for is not there.
    """
    import torch

    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there.get(device, False):
        raise BadInput(
            f"device {device!r} is not available here.",
            f"Available: {', '.join(name for name, found in there.items() if found)}.",
        )
    return device


def load_network(
    folder: ModelFolder, class_name: str | None = None, unused: tuple[str, ...] = ()
) -> "torch.nn.Module":
    """Load a network in float32, ready to run, on the CPU.

    Args:
        folder: a validated folder.
        class_name: class of the transformers library; by default the main class of the type.
        unused: prefixes of weights that may be missing because nothing here uses them.

    Raises:
        BadFile: the type is not known, or weights are missing or of another shape.
    """
    import torch

    config = build_config(folder)
    found = network_class(folder, type(config), class_name)
    with quiet():
        try:
            _require_weights(folder, found, config, unused)
            network, report = found.from_pretrained(
                str(folder.path),
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                variant=folder.variant,
                local_files_only=True,
                output_loading_info=True,
            )
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            raise BadFile(
                f"the weights in {folder.path} do not fit its config.json: {error}",
                "Copy the whole folder again.",
            ) from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(unused))
    if missing:
        raise BadFile(
            f"the weights in {folder.path} lack {len(missing)} tensors that its config.json asks "
            f"for, the first is {missing[0]!r}.",
            "Copy the whole folder again.",
        )
    frozen: torch.nn.Module = network.eval().requires_grad_(False)
    return frozen


def _require_weights(
    folder: ModelFolder, network_class: Any, config: Any, unused: tuple[str, ...]
) -> None:
    """Refuse a configuration whose sizes together need far more memory than the weights."""
    import torch

    with torch.device("meta"):  # allocates no memory
        network = network_class(config)
    named = (*network.named_parameters(), *network.named_buffers())
    needed = sum(tensor.numel() for name, tensor in named if not name.startswith(unused))
    held = count_parameters(folder.weights)
    if needed > _MOST_TIMES * held + _BESIDE_WEIGHTS:
        raise BadFile(
            f"{folder.path / 'config.json'} asks for {needed:,} numbers, and the weights beside it "
            f"hold {held:,}.",
            "Copy the whole folder again.",
        )


def build_config(folder: ModelFolder) -> Any:
    """Create the configuration object of the folder's type from the validated content.

    Raises:
        BadFile: the type is not known, or the values do not fit it.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    own = contents(folder.path) if folder.model_type.startswith("graftwerk-") else None
    if own is not None:
        raise BadFile(
            f"{folder.path} holds {own[0]}, which is no model of the transformers library.",
            f"It is for {own[1]}.",
        )
    if folder.model_type == timm.MODEL_TYPE:
        timm.require_installed(folder.path)
    if folder.model_type not in CONFIG_MAPPING:
        raise BadFile(
            f"{folder.path} is of type {folder.model_type!r}, which the transformers library "
            "does not know.",
            "Name a model whose code is part of that library.",
        )
    try:
        with no_hub():
            return CONFIG_MAPPING[folder.model_type].from_dict(dict(folder.config))
    except OSError as error:
        raise BadFile(
            f"{folder.path / 'config.json'} names another model (backbone) that lies elsewhere: a "
            "file does not decide what is fetched.",
            "Write that model's own values in its place, as backbone_config.",
        ) from error
    except (TypeError, ValueError, StrictDataclassError) as error:
        raise BadFile(f"{folder.path / 'config.json'} is malformed: {error}.", "Fix it.") from error


def network_class(folder: ModelFolder, config_class: type, class_name: str | None = None) -> Any:
    """Return the class of the transformers library for a folder.

    Raises:
        BadFile: its type has no main class.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    class_name = class_name or _ENCODER_ONLY.get(folder.model_type)
    if class_name is not None:
        return getattr(transformers, class_name)
    if config_class not in MODEL_MAPPING:
        raise BadFile(
            f"{folder.path} is of type {folder.model_type!r}, which has no main class.",
            "Name a text or image encoder.",
        )
    found = MODEL_MAPPING[config_class]
    return found[0] if isinstance(found, tuple) else found

"""Safe reading and validation of model folders.

Configurations are read here before any library sees them. Remote code, pickled weights and
damaged weight files are refused by name.

The module also lists the network types of the transformers library that read time series, and
reads the labels of a classifier from its folder without loading its network.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files, folders, limits
from ..errors import BadFile, Damaged, UnknownName
from . import timm
from .integrity import hash_of_weights, require_published

CHECKED = {"config.json", "scheduler_config.json", "preprocessor_config.json"}
_BOUNDS: Mapping[str, tuple[float, float]] = {
    name: bounds
    for bounds, names in {
        (0, 1_000): "num_hidden_layers num_layers n_layer n_layers encoder_layers depths "
        "decoder_layers num_decoder_layers layers_per_block reverse_layers_per_block "
        "transformer_layers_per_block blocks",
        (1, 10_000): "num_attention_heads num_heads n_head n_heads num_key_value_heads "
        "encoder_attention_heads decoder_attention_heads attention_head_dim",
        # the widest known layers have some 60,000 values
        (1, 262_144): "hidden_size intermediate_size d_model d_ff d_kv n_embd cross_attention_dim "
        "projection_dim head_dim block_out_channels in_channels out_channels latent_channels "
        "conditioning_channels num_channels in_features norm_num_groups",
        (1, 16_384): "sample_size image_size patch_size height width shortest_edge longest_edge",
        (0, 1): "layer_norm_eps rms_norm_eps norm_eps layer_norm_epsilon beta_start beta_end",
        (1, 10_000_000): "vocab_size",
        (1, 100_000_000): "max_position_embeddings",
        (1, 100_000): "num_train_timesteps",
        (1e-6, 1e6): "scaling_factor image_std",
        (0, 5): "resample",
        (0, 1e6): "rescale_factor",
        (-1e6, 1e6): "image_mean",
    }.items()
    for name in names.split()
}
# no limit: of state-space models, and of DPM-Solver as diffusers saves it
_MAY_BE_INFINITE = {"time_step_limit", "lambda_min_clipped"}
_LARGEST = 1e38  # largest magnitude in 32-bit floats


def check_config(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse numbers out of range and values that should be numbers but are not.

    Args:
        path: path of the file, for error messages.
        content: the parsed content.

    Raises:
        BadFile: names the field, its value, and what is allowed.
    """
    for name, value in _values("", content):
        key = name.rpartition(".")[2]
        bounds = _BOUNDS.get(key)
        if value is None or isinstance(value, bool) or key in _MAY_BE_INFINITE:
            continue
        if isinstance(value, int | float):
            low, high = bounds or (-_LARGEST, _LARGEST)
            if math.isfinite(value) and low <= value <= high:
                continue
            allowed = f"a number from {low:,g} to {high:,g}" if bounds else "a finite number"
        elif isinstance(value, str) and bounds is not None:
            allowed = "a number"
        else:
            continue
        shown = repr(value)
        shown = shown if len(shown) <= 40 else f"{shown[:40]}..."
        raise BadFile(
            f"{path}: {name} is {shown}; allowed is {allowed}.",
            "Copy the file again from where the model comes from, or correct that entry.",
        )


def _values(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every nested value with its dotted name; list entries have the name of their list."""
    pending = [(name, value)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, Mapping):
            pending.extend((f"{name}.{key}" if name else str(key), v) for key, v in value.items())
        elif isinstance(value, list):
            pending.extend((name, entry) for entry in value)
        else:
            yield name, value


PICKLES = (".bin", ".pt", ".pth", ".ckpt")  # of PyTorch
_PICKLED = {*PICKLES, ".pkl", ".pickle", ".h5", ".msgpack"}
# Each makes a loader import code, fetch another model, or require another library.
_REFUSED_KEYS = {
    "auto_map": "asks for code of its own to be run",
    "custom_pipelines": "asks for code of its own to be run",
    "quantization_config": "holds quantized weights",
    "tokenizer_name_or_path": "takes its tokenizer from elsewhere",
}
_READ_SUFFIXES = {".json", ".txt", ".model", ".jinja", ".safetensors"}
# Order of preference among variants of the same weights.
_VARIANTS = {None: 0, "fp32": 1, "fp16": 2, "bf16": 3, "ema": 4}
_KERNEL_KEYS = ("_attn_implementation", "attn_implementation", "_experts_implementation")
# Files other than the weights that affect the vectors.
_SHAPING_NAMES = {
    "config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
}


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A validated folder in the layout of the transformers library.

    Attributes:
        path: the folder.
        config: content of its `config.json`.
        weights: its safetensors files, sorted.
        variant: variant of the weights that are read, for example `fp16`; None for the plain ones.
    """

    path: Path
    config: Mapping[str, Any]
    weights: tuple[Path, ...]
    variant: str | None = None

    @property
    def model_type(self) -> str:
        """The architecture named in `config.json`."""
        return str(self.config["model_type"])


def open_folder(path: Path) -> ModelFolder:
    """Read and validate the folder of one transformers model.

    Raises:
        BadFile: a part is missing, only pickled weights are there, or code would have to be run.
        Damaged: a weight file is cut short or is no safetensors file.
    """
    config = timm.as_wrapped(path / "config.json", read_object(path / "config.json"))
    if not isinstance(config.get("model_type"), str):
        raise BadFile(
            f"{path / 'config.json'} names no model_type.",
            "Use a folder written by the transformers library.",
        )
    for file in sorted(path.glob("*.json")):
        refuse_unsafe(file)
    if (path / "adapter_config.json").exists():
        raise BadFile(
            f"{path} holds an adapter, not a whole model.",
            "Merge it into its base model and save that.",
        )
    weights = _checked_weights(path)
    variant, chosen = select_weights(path, "model")
    return ModelFolder(path, config, chosen if variant else weights, variant)


def select_weights(folder: Path, stem: str) -> tuple[str | None, tuple[Path, ...]]:
    """Return the weight files of one variant, sharded or not; the plain variant is preferred.

    Recognized are for example `model.fp16.safetensors`, `model.non_ema.safetensors`, and the
    shards listed in `model.safetensors.index.fp16.json`.

    Args:
        folder: folder of a network.
        stem: `model` for the transformers library, `diffusion_pytorch_model` for diffusers.

    Returns:
        The variant, None for the plain one, and its files; no files if there are no weights.

    Raises:
        BadFile: an index names a piece that is missing.
    """
    whole = re.compile(rf"{stem}(?:\.(?P<variant>[\w-]+))?\.safetensors")
    index = re.compile(
        rf"{stem}(?:\.(?P<early>\w+))?\.safetensors\.index(?:\.(?P<late>\w+))?\.json"
    )
    found: dict[str | None, tuple[Path, ...]] = {}
    for path in sorted(folder.iterdir()):
        if match := index.fullmatch(path.name):
            named = read_object(path).get("weight_map", {}).values()
            pieces = tuple(folder / Path(str(n)).name for n in sorted(set(map(str, named))))
            found.setdefault(match["early"] or match["late"], pieces)
    for path in sorted(folder.iterdir()):
        if (match := whole.fullmatch(path.name)) and "-of-" not in path.name:
            found[match["variant"]] = (path,)
    if not found:
        return None, ()
    variant = min(found, key=lambda name: (_VARIANTS.get(name, len(_VARIANTS)), name or ""))
    missing = [path.name for path in found[variant] if not path.is_file()]
    if missing or not found[variant]:
        raise BadFile(
            f"{folder} lacks its weights {', '.join(missing) or stem}.",
            "Copy the whole folder again.",
        )
    return variant, found[variant]


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that must hold an object.

    Raises:
        BadFile: it is missing, holds something else, or a number that no model has.
    """
    if not path.is_file():
        raise BadFile(
            f"model folder {path.parent} has no {path.name}.",
            folders.hint_for(
                path.parent,
                "Name a folder as transformers, sentence-transformers or diffusers writes it.",
            ),
        )
    content = files.read_json(path)
    if not isinstance(content, dict):
        raise BadFile(f"{path} does not hold a JSON object.", "Check the file's content.")
    if path.name in CHECKED:
        check_config(path, content)
    return content


def fingerprint(root: Path, choices: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all files under `root` that affect the vectors, and of `choices`.

    Args:
        root: folder of the model; subfolders are included.
        choices: settings of the caller beyond the files, for example the hidden layer.
    """
    total = hashlib.sha256()
    for path in sorted(_shaping_files(root)):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode())
        total.update(hash_of_weights(path).encode())
    total.update(json.dumps(choices, sort_keys=True).encode())
    return total.hexdigest()


def _shaping_files(root: Path) -> Iterator[Path]:
    for folder in (root, *(entry for entry in root.iterdir() if entry.is_dir())):
        for path in folder.iterdir():
            if path.name in _SHAPING_NAMES or path.suffix == ".safetensors":
                yield path


def refuse_unsafe(path: Path) -> None:
    """Refuse a small JSON file with keys that make a loader run code, at any depth.

    Raises:
        BadFile: one is there; files that cannot hold any are not read.
    """
    if path.name not in _SHAPING_NAMES or path.name in {"tokenizer.json", "vocab.json"}:
        return
    pending: list[Any] = [files.read_json(path)]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            for key, reason in _REFUSED_KEYS.items():
                if value.get(key):
                    raise BadFile(
                        f"{path} {reason} ({key}).",
                        "Only plain safetensors models of the transformers library are read.",
                    )
            # A kernel named owner/repository is fetched from the hub and run.
            if any("/" in json.dumps(value.get(key)) for key in _KERNEL_KEYS):
                raise BadFile(
                    f"{path} asks for code of its own to be run (attn_implementation).",
                    "Take that entry out of the file.",
                )
            pending.extend(value.values())


def _checked_weights(path: Path) -> tuple[Path, ...]:
    weights = tuple(sorted(path.glob("*.safetensors")))
    index = path / "model.safetensors.index.json"
    if index.exists():
        named = {str(value) for value in read_object(index).get("weight_map", {}).values()}
        missing = sorted(named - {file.name for file in weights})
        if missing:
            raise BadFile(
                f"model folder {path} lacks {', '.join(missing)}.", "Copy the whole folder again."
            )
    if not weights:
        pickled = sorted(file.name for file in path.iterdir() if file.suffix in _PICKLED)
        if pickled:
            raise BadFile(
                f"model folder {path} holds its weights only as {', '.join(pickled)}, a format "
                "that can run code when it is read.",
                "Convert it where you trust it: load it with transformers, then "
                "model.save_pretrained(FOLDER) writes model.safetensors.",
            )
        raise BadFile(f"model folder {path} has no .safetensors file.", "Copy the whole folder.")
    for file in weights:
        check_safetensors(file)
    return weights


def require_plain_files(root: Path) -> None:
    """Refuse a model folder that contains FIFOs, devices, or text files that exhaust memory.

    Libraries open whatever has the expected name, and have no limits of their own.

    Raises:
        BadFile: one is no regular file.
        LimitExceeded: one is too large.
    """
    depth_of_root = len(root.parts)
    for folder, inner, names in os.walk(root):
        if len(Path(folder).parts) - depth_of_root >= limits.MODEL_DEPTH:
            inner.clear()
        for path in (Path(folder, name) for name in names):
            if path.suffix not in _READ_SUFFIXES:
                continue
            with suppress(FileNotFoundError):  # a dangling link counts as a missing file
                files.require_regular(path)
                if path.suffix != ".safetensors":
                    limits.require_file_size(path, limits.MODEL_TEXT, "model file")


def count_parameters(weights: Sequence[Path]) -> int:
    """Count the weights in safetensors files from their headers, without integer tensors."""
    from safetensors import safe_open

    total = 0
    for path in weights:
        with safe_open(path, framework="np") as tensors:
            for key in tensors.keys():  # noqa: SIM118 - it is no mapping
                tensor = tensors.get_slice(key)
                if not tensor.get_dtype().startswith(("I", "U", "BOOL")):
                    total += math.prod(tensor.get_shape())
    return total


def check_safetensors(path: Path) -> None:
    """Read the header of a safetensors file to verify that the file is complete.

    Raises:
        BadFile: it is not a regular file.
        Damaged: it is cut short or malformed, or one of the package's own that was changed.
    """
    from safetensors import SafetensorError, safe_open

    files.require_regular(path)
    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise Damaged(
            f"weight file {path} is damaged: {error}.", "Copy or download it again."
        ) from error
    require_published(path)


NOISE_AWARE = "graftwerk-noise-aware-classifier"


def noise_aware_labels(folder: Path) -> tuple[str, ...] | None:
    """Return the labels of a noise-aware classifier; None for a model of another type.

    Raises:
        BadFile: the folder has no configuration that can be read.
    """
    config = read_object(folder / "config.json")
    if config.get("model_type") != NOISE_AWARE:
        return None
    return tuple(str(label) for label in config.get("labels", ()))


_CLASSIFIES = "ForImageClassification"


def own_classes(path: Path) -> tuple[str, ...]:
    """Return the class names of an image classifier; an empty tuple for other models.

    Args:
        path: folder of the model.

    Raises:
        BadFile: its configuration names them in a way that leaves some out.
    """
    if not (path / "config.json").is_file():
        return ()
    config = timm.as_wrapped(path / "config.json", read_object(path / "config.json"))
    architectures = config.get("architectures")
    if not isinstance(architectures, list) or not str(*architectures[:1]).endswith(_CLASSIFIES):
        return ()
    if config.get("model_type") == timm.MODEL_TYPE:
        return timm.class_names(path, config)
    named = config.get("id2label")
    if named is None:  # the library's default names
        return tuple(f"LABEL_{n}" for n in range(int(config.get("num_labels", 2))))
    keys = [str(number) for number in range(len(named))] if isinstance(named, dict) else []
    if not keys or set(named) != set(keys):
        raise BadFile(
            f"{path / 'config.json'} does not name its classes 0, 1, 2, ... (id2label).",
            "Copy the file again, or name every class once.",
        )
    return tuple(" ".join(str(named[key]).split()) for key in keys)


def class_number(classes: Sequence[str], label: str) -> int:
    """Return the index of a class, given its full name or one of its comma-separated names.

    >>> class_number(["tench, Tinca tinca", "crane", "crane, wader"], "tinca tinca")
    0

    Raises:
        UnknownName: none is called so, or several are.
    """
    requested = " ".join(label.casefold().split())
    whole = [n for n, name in enumerate(classes) if name.casefold() == requested]
    parts = [
        n
        for n, name in enumerate(classes)
        if requested in {part.strip().casefold() for part in name.split(",")}
    ]
    found = whole or parts
    if len(found) != 1:
        names = [classes[n] for n in found] or [
            part.strip() for c in classes for part in c.split(",")
        ]
        raise UnknownName("class", label, dict.fromkeys(names))
    return found[0]


@dataclass(frozen=True, slots=True)
class SeriesModel:
    """How a network type that reads time series is loaded.

    Attributes:
        network: its class in the transformers library.
        inner: attribute of the submodule that encodes; empty for the whole network.
    """

    network: str
    inner: str = ""


SERIES_MODELS: Mapping[str, SeriesModel] = {
    "patchtst": SeriesModel("PatchTSTModel"),
    "timesfm": SeriesModel("TimesFmModelForPrediction", "decoder"),
    "timesfm2_5": SeriesModel("TimesFm2_5ModelForPrediction", "model"),
}

"""`graft models`: the built-in models, and those that can be fetched.

- `graft models list`: list the built-in models and those that can be fetched.
- `graft models info`: describe a model.
- `graft models fetch`: fetch a model.
"""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import files
from ..conditions.blazepose import load_blazepose
from ..errors import BadFile
from ..models.checkpoint import ModelFolder, count_parameters, fingerprint, open_folder, read_object
from ..models.encoders import load_encoder, model_folder
from ..models.fast_text import StaticEncoder
from ..models.fetching import FETCHABLE, fetchable, is_fetched
from ..models.fetching.fetch import fetch_model
from ..models.hub import BUILTIN, loading
from ..models.image_encoder import ImageEncoder
from ..models.language.local import load_language_model
from ..models.results import FetchableModel, FetchedModel, ModelCard, ModelList
from ..models.text_encoder import Recipe, TextEncoder, read_recipe
from ..models.transformers import causal_class
from ..requests.models import ModelsFetch, ModelsInfo, ModelsList
from ..text_safety import counted
from ..types import Encoder, Monitor

_LICENCE = re.compile(r"^license:\s*[\"']?([\w .+-]+)", re.MULTILINE)
_TENSORFLOW_LITE = ("*.tflite", "*.data")  # their parameters are not counted
_OWN = {
    "graftwerk-judge": "judge",
    "graftwerk-perception": "perception",
    "graftwerk-branch": "control branch",
    "graftwerk-noise-aware-classifier": "noise-aware classifier",
    "graftwerk-series": "forecaster",
    "graftwerk-policy": "robot policy",
    "graftwerk-reader": "passage reader",
    "pi0": "robot policy",
    "hed": FETCHABLE["hed"].kind,
    "blazepose": FETCHABLE["blazepose"].kind,
}


def run_models_info(request: ModelsInfo, monitor: Monitor) -> ModelCard:
    """Load the model, to verify that it can be used, and describe it."""
    monitor.start(f"loading {request.name}")
    root = model_folder(request.name)
    with loading(request.name):
        return _card(request, root)


def _card(request: ModelsInfo, root: Path) -> ModelCard:
    if (root / "model_index.json").is_file():
        return _pipeline(request, root)
    config = read_object(root / "config.json") if (root / "config.json").is_file() else {}
    if config.get("model_type") in _OWN or config.get("_class_name") == "AutoencoderKL":
        return _network(request, root, config)
    if not (root / "modules.json").is_file() and config.get("architectures"):
        folder = open_folder(root)
        if causal_class(folder) in config["architectures"]:
            return _language_model(request, folder)
    return _encoder(request, root)


def _language_model(request: ModelsInfo, folder: ModelFolder) -> ModelCard:
    network, _ = load_language_model(request.name, folder, request.device)
    context = getattr(network.config, "max_position_embeddings", None)
    return ModelCard(
        name=request.name,
        kind="language model",
        reads=["text"],
        dimension=None,
        fingerprint=fingerprint(folder.path, {}),
        path=str(folder.path),
        details={"architecture": folder.model_type}
        | ({"context": counted(context, "token")} if context else {})
        | _origin(folder.path),
        **_size(folder.path),
    )


def _encoder(request: ModelsInfo, root: Path) -> ModelCard:
    encoder = load_encoder(request.name, device=request.device)
    recipe = read_recipe(root)
    return ModelCard(
        name=encoder.name,
        kind=_kind(encoder),
        reads=sorted(encoder.reads),
        dimension=encoder.dimension,
        fingerprint=encoder.fingerprint,
        path=str(root),
        details=_encoder_details(encoder, recipe) | _origin(root),
        **_size(root),
    )


def _pipeline(request: ModelsInfo, root: Path) -> ModelCard:
    from ..diffusion.pipeline import load_diffusion

    model = load_diffusion(request.name, request.device)
    latent = model.decoder is not None
    width, height = model.size
    return ModelCard(
        name=request.name,
        kind="diffusion pipeline",
        reads=[] if model.reader is None else ["text"],
        dimension=None,
        fingerprint=model.fingerprint,
        path=str(root),
        details={
            "draws": f"{width} x {height} pixels" + (f", 1/{model.factor} latents" * latent),
            "channels": model.channels,
            "predicts": model.noise.prediction,
        }
        | _origin(root),
        **_size(root),
    )


def _network(request: ModelsInfo, root: Path, config: Mapping[str, Any]) -> ModelCard:
    from ..blocks.networks import load_judge, load_perception
    from ..conditions.estimators import load_hed
    from ..diffusion.noisy_classifier import load_noise_aware
    from ..diffusion.pipeline import load_part
    from ..forecast.candidates import LEADS
    from ..forecast.forecasters import open_forecaster
    from ..models.language.reader import BASE, load_weights
    from ..policy.network import open_policy

    kind = _OWN.get(str(config.get("model_type")), "autoencoder")
    match kind:
        case "judge":
            load_judge(root, request.device)
            details = {key: ", ".join(config[key]) for key in ("kinds", "colours", "grounds")}
        case "perception":
            load_perception(root, request.device)
            details = {key: ", ".join(config[key]) for key in ("classes", "joints")}
        case "noise-aware classifier":
            labels = load_noise_aware(request.name, root, request.device).labels
            details = {"labels": ", ".join(labels), "latents": config["latents"][:12]}
        case "forecaster":
            levels = open_forecaster(str(root), request.device).levels
            details = {
                "forecasts": f"{LEADS} values at once, quantiles {levels[0]} to {levels[-1]}"
            }
        case "passage reader":
            load_weights(root, model_folder(BASE))
            details = {"reads with": BASE, "LoRA": f"rank {config['rank']}, 8 bits, not counted"}
        case "robot policy":
            details = open_policy(request.name, request.device).describe()
        case "estimator of edges" | "estimator of key points":
            load_hed(root, request.device) if kind.endswith("edges") else load_blazepose(root)
            fetched = FETCHABLE[str(config["model_type"])]
            details = {"about": fetched.about, "option": fetched.option}
        case "control branch":
            _load_branch(root, request.device)
            details = {"condition": config["condition"], "steers": config["base"]["name"]}
        case _:
            load_part(root)
            sides = 2 ** (len(config["block_out_channels"]) - 1)
            details = {"latents": f"{config['latent_channels']} channels, 1/{sides} of the sides"}
    reads = [] if kind in {"noise-aware classifier", "forecaster"} else ["image"]
    return ModelCard(
        name=request.name,
        kind=kind,
        reads=["text"] if kind == "passage reader" else reads,
        dimension=None,
        fingerprint=fingerprint(root, {}),
        path=str(root),
        details=details | _origin(root),
        **_size(root),
    )


def _load_branch(root: Path, device: str) -> None:
    from ..controlnet.checkpoint import open_branch
    from ..diffusion.pipeline import load_diffusion

    open_branch(root, load_diffusion("builtin/blocks", device))


def _size(root: Path) -> dict[str, Any]:
    weights = sorted(root.rglob("*.safetensors"))
    others = [path for name in _TENSORFLOW_LITE for path in root.glob(name)]
    return {
        "parameters": count_parameters(weights) if weights else None,
        "bytes": sum(path.stat().st_size for path in weights or others),
    }


def _kind(encoder: Encoder) -> str:
    if isinstance(encoder, StaticEncoder):
        return "static text encoder"
    if isinstance(encoder, TextEncoder):
        return "text encoder"
    if "text" in encoder.reads:
        return "joint encoder of texts and images"
    classifies = isinstance(encoder, ImageEncoder) and encoder.classes
    return "image classifier and encoder" if classifies else "image encoder"


def _encoder_details(encoder: Encoder, recipe: Recipe) -> dict[str, Any]:
    details: dict[str, Any] = {"architecture": recipe.transformer.model_type}
    if isinstance(encoder, TextEncoder):
        details["runs_with"] = encoder.backend
        details["longest_input"] = recipe.max_length
        details["pooling"] = ", ".join(recipe.pooling)
        details["prompts"] = {role: text for role, text in recipe.prompts.items() if text}
    if isinstance(encoder, ImageEncoder) and encoder.classes:
        few = "; ".join(encoder.classes[:3])
        details["classes"] = f"{len(encoder.classes):,}: {few}; ..."
    if encoder.rescorer is not None:
        details["rescorer"] = encoder.rescorer
    return details


def _origin(root: Path) -> dict[str, Any]:
    details: dict[str, Any] = {}
    record = _record(root)
    if record:
        minutes = float(record["seconds"]) / 60
        details["trained"] = (
            f"recipe {record['recipe']}, {counted(record['steps'], 'step')} in {minutes:.0f} "
            f"minutes on {record['hardware']}"
        )
        details |= {name: round(value, 4) for name, value in record["figures"].items()}
    card = root / "README.md"
    if card.is_file():
        details["card"] = str(card)
        found = _LICENCE.search(card.read_text("utf-8", "replace")[:4000])
        if found:
            details["licence"] = found[1].strip()
    return details


def _record(root: Path) -> dict[str, Any]:
    path = root / "graft.json"
    if not path.is_file():
        return {}
    record = files.read_json(path)
    if not isinstance(record, dict):
        raise BadFile(f"{path} does not hold a JSON object.", "Copy the whole folder again.")
    return record if record.get("kind") == "model" else {}


_OTHERS = (
    (
        "static",
        "static text encoder",
        "distilled from builtin/minilm on first use, some fifty times faster; builtin/minilm puts "
        "its first hits in order",
    ),
    (
        "extractive",
        "writer",
        "quotes the sentences of the passages that answer best; writes nothing of its own",
    ),
)


def run_models_list(request: ModelsList, monitor: Monitor) -> ModelList:  # noqa: ARG001
    """List the models that need no folder."""
    carried = ((name, entry.kind, entry.about) for name, entry in BUILTIN.items())
    return ModelList(
        models=[
            {"name": name, "kind": kind, "about": about}
            for name, kind, about in (*carried, *_OTHERS)
        ],
        fetchable=[
            FetchableModel(
                name=name,
                kind=entry.kind,
                about=entry.about,
                fetched=is_fetched(name),
                packages=entry.packages,
                bytes=entry.bytes,
                licence=entry.licence,
            )
            for name, entry in FETCHABLE.items()
        ],
    )


def run_models_fetch(request: ModelsFetch, monitor: Monitor) -> FetchedModel:
    """Fetch and convert a model, unless it is cached."""
    began = time.perf_counter()
    entry, there = fetchable(request.name), is_fetched(request.name)
    folder = fetch_model(request.name, monitor)
    return FetchedModel(
        name=request.name,
        path=str(folder),
        kind=entry.kind,
        option=entry.option,
        licence=entry.licence,
        packages=entry.packages,
        changed=entry.changed,
        fetched_now=not there,
        bytes=files.size_of(folder),
        seconds=time.perf_counter() - began,
    )

"""`graft models info`: what a model is."""

import re
from pathlib import Path
from typing import Any

from ..contracts import Encoder, Monitor
from ..frozen.encoders import load_encoder, model_folder
from ..frozen.folder import count_parameters
from ..frozen.recipe import Recipe, read_recipe
from ..frozen.static import StaticEncoder
from ..frozen.texts import TextEncoder
from ..reports import ModelCard
from ..requests import ModelsInfo

_LICENCE = re.compile(r"^license:\s*[\"']?([\w .+-]+)", re.MULTILINE)


def run(request: ModelsInfo, monitor: Monitor) -> ModelCard:
    """Load the encoder, which proves that it can be used, and tell about it.

    Raises:
        BadInput: the name or the folder cannot be used.
        Damaged: a weight file is cut short.
    """
    monitor.start(f"loading {request.name}")
    encoder = load_encoder(request.name, device=request.device)
    root = model_folder(request.name)
    recipe = read_recipe(root)
    weights = sorted(root.rglob("*.safetensors"))
    return ModelCard(
        name=encoder.name,
        kind=_kind(encoder),
        reads=sorted(encoder.reads),
        dimension=encoder.dimension,
        parameters=count_parameters(weights),
        bytes=sum(path.stat().st_size for path in weights),
        fingerprint=encoder.fingerprint,
        path=str(root),
        details=_details(encoder, root, recipe),
    )


def _kind(encoder: Encoder) -> str:
    if isinstance(encoder, StaticEncoder):
        return "static text encoder"
    if isinstance(encoder, TextEncoder):
        return "text encoder"
    return "joint encoder of texts and pictures" if "text" in encoder.reads else "image encoder"


def _details(encoder: Encoder, root: Path, recipe: Recipe) -> dict[str, Any]:
    details: dict[str, Any] = {"architecture": recipe.transformer.model_type}
    if isinstance(encoder, TextEncoder):
        details["runs_with"] = encoder.backend
        details["longest_input"] = recipe.max_length
        details["pooling"] = ", ".join(recipe.pooling)
        details["prompts"] = {role: text for role, text in recipe.prompts.items() if text}
    if encoder.rescorer is not None:
        details["rescorer"] = encoder.rescorer
    card = root / "README.md"
    if card.is_file():
        details["card"] = str(card)
        found = _LICENCE.search(card.read_text("utf-8", "replace")[:4000])
        if found:
            details["licence"] = found[1].strip()
    return details

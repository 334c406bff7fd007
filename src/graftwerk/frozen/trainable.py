"""An encoder as a network that can be trained: the vectors of `load_encoder`, with gradients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..contracts import HiddenLayer
from ..errors import BadInput
from .images import IMAGE_MODELS, image_processor
from .loading import load_network
from .pytorch import SentenceNetwork, read_tokens, resolve_layer, tokenizer_definition
from .recipe import Recipe, read_recipe
from .series import SeriesNetwork
from .series_models import SERIES_MODELS
from .states import picture_states
from .static import MODEL_TYPE
from .tokens import TokenReader

Inputs = Mapping[str, Tensor]


@dataclass(frozen=True)
class Trainable:
    """An encoder that can be trained.

    Attributes:
        root: the folder that it came from.
        place: folder of the network, `root` itself or inside it.
        network: as the transformers library saves it.
        tower: the part of it that the items go through.
        prepare: from texts, pictures or series to inputs, on the CPU; called in any thread.
        vectors: from inputs where the network is to unit vectors, [b d].
    """

    root: Path
    place: Path
    network: nn.Module
    tower: nn.Module
    prepare: Callable[[Sequence[Any]], Inputs]
    vectors: Callable[[Inputs], Tensor]

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next(self.network.parameters()).device

    def encode(self, inputs: Inputs) -> Float[Tensor, "b d"]:
        """Unit vectors of inputs that may lie elsewhere."""
        return self.vectors({name: tensor.to(self.device) for name, tensor in inputs.items()})

    def blocks(self) -> nn.ModuleList:
        """The repeated blocks, in the order in which they are called.

        Raises:
            BadInput: there are none.
        """
        lists = [module for module in self.tower.modules() if isinstance(module, nn.ModuleList)]
        if not lists:
            raise BadInput(f"the network in {self.root} has no list of blocks.", "Leave --top out.")
        return max(lists, key=len)


def load_trainable(root: Path, reads: str, layer: HiddenLayer, device: str) -> Trainable:
    """Load an encoder to be trained, on `device`, without dropout.

    Args:
        root: its folder.
        reads: `text`, `image` or `series`: what it is trained on.
        layer: hidden layer that vectors come from; see `contracts.HiddenLayer`.
        device: `cpu`, `cuda` or `mps`.

    Raises:
        BadInput: it is static, or the layer is out of range.
        BadFile: weights, tokenizer or image processor are missing or do not fit.
    """
    recipe = read_recipe(root)
    kind = recipe.transformer.model_type
    if kind == MODEL_TYPE:
        raise BadInput(f"{root} is a static encoder: it has no network to train.", "Use linear.")
    if kind in SERIES_MODELS:
        series = SeriesNetwork(recipe.transformer).to(device)
        return Trainable(
            root=root,
            place=recipe.transformer.path,
            network=series.saved,
            tower=series.network,
            prepare=series.prepare,
            vectors=lambda inputs: series(**inputs),
        )
    if kind in IMAGE_MODELS:
        joint = IMAGE_MODELS[kind].takes == "joint"
        if joint and reads == "text":
            return _joint_texts(root, recipe, device)
        return _pictures(root, recipe, layer, device)
    return _texts(root, recipe, layer, device)


def _texts(root: Path, recipe: Recipe, layer: HiddenLayer, device: str) -> Trainable:
    sentence = SentenceNetwork(recipe, layer).to(device)
    tokens = read_tokens(recipe)
    prompt = recipe.prompts.get("document", "")
    skip = 0 if recipe.pool_prompt or not prompt else max(0, len(tokens.read([prompt])[0]) - 1)

    def prepare(items: Sequence[Any]) -> Inputs:
        ids, mask = tokens.pad(tokens.read([prompt + str(item) for item in items]))
        pooled = mask.copy()
        pooled[:, :skip] = 0
        arrays = {"ids": ids, "mask": mask, "pooled": pooled}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    network = sentence.network
    return Trainable(
        root=root,
        place=recipe.transformer.path,
        network=network,
        tower=network,
        prepare=prepare,
        vectors=lambda inputs: sentence(**inputs),
    )


def _pictures(root: Path, recipe: Recipe, layer: HiddenLayer, device: str) -> Trainable:
    folder = recipe.transformer
    kind = IMAGE_MODELS[folder.model_type]
    joint = kind.takes == "joint"
    network: Any = load_network(folder, kind.network, unused=() if joint else ("pooler.",))
    network.to(device)
    number = resolve_layer(network, layer)

    def vectors(inputs: Inputs) -> Tensor:
        return nn.functional.normalize(picture_states(network, kind, number, inputs), dim=-1)

    return Trainable(
        root=root,
        place=folder.path,
        network=network,
        tower=network.vision_model if joint else network,
        prepare=image_processor(folder),
        vectors=vectors,
    )


def _joint_texts(root: Path, recipe: Recipe, device: str) -> Trainable:
    folder = recipe.transformer
    kind = IMAGE_MODELS[folder.model_type]
    network: Any = load_network(folder, kind.network).to(device)
    definition, pad_id = tokenizer_definition(folder)
    length = int(network.config.text_config.max_position_embeddings)
    tokens = TokenReader(definition, length, pad_id, fixed_length=kind.fixed_length)

    def prepare(items: Sequence[Any]) -> Inputs:
        ids, mask = tokens.pad(tokens.read([str(item) for item in items]))
        inputs = {"input_ids": torch.from_numpy(ids)}
        if not kind.fixed_length:  # these were trained without a mask
            inputs["attention_mask"] = torch.from_numpy(mask)
        return inputs

    def vectors(inputs: Inputs) -> Tensor:
        return nn.functional.normalize(network.get_text_features(**inputs).pooler_output, dim=-1)

    return Trainable(
        root=root,
        place=folder.path,
        network=network,
        tower=network.text_model,
        prepare=prepare,
        vectors=vectors,
    )

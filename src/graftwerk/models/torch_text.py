"""Text encoders in PyTorch, and pooling of network outputs to one vector per item.

The reference implementation of a recipe: the network and its steps in PyTorch, with gradients if
they are requested.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadFile, BadInput
from ..types import HiddenLayer, Vectors
from .checkpoint import SERIES_MODELS, ModelFolder, check_safetensors, read_object
from .text_encoder import VOCABULARIES, Forward, Pooling, Recipe, TokenIds, TokenReader
from .transformers import build_config, choose_device, load_network, quiet

if TYPE_CHECKING:
    from .image_encoder import ImageModel


def image_states(
    network: Any, kind: "ImageModel", layer: HiddenLayer, inputs: Mapping[str, Tensor]
) -> Float[Tensor, "b d"]:
    """Return one vector per image, not yet of unit length.

    Args:
        network: a network of that kind.
        kind: how the network type is pooled.
        layer: hidden layer to use.
        inputs: output of the image processor, on the network's device.
    """
    return image_states_and_output(network, kind, layer, inputs, hidden=layer is not None)[0]


def image_states_and_output(
    network: Any,
    kind: "ImageModel",
    layer: HiddenLayer,
    inputs: Mapping[str, Tensor],
    *,
    hidden: bool = True,
) -> tuple[Float[Tensor, "b d"], Any]:
    """Return the same as `image_states`, and the library's output for the images at full size.

    `hidden` says whether that output has the hidden states although the layer needs none.
    """
    if kind.takes == "joint":
        output = network.get_image_features(**inputs, output_hidden_states=hidden)
        return output.pooler_output, output
    output = network(**inputs, output_hidden_states=hidden)
    found = _pooled(output, kind, layer)
    if layer == "multiscale":
        half = {"pixel_values": functional.avg_pool2d(inputs["pixel_values"], 2)}
        found += _pooled(network(**half, output_hidden_states=True), kind, layer)
    return joined(found), output


def _pooled(output: Any, kind: "ImageModel", layer: HiddenLayer) -> list[Float[Tensor, "b _"]]:
    """Return a vector of each selected layer from the output of a network of images only."""
    if kind.takes == "pooled" and layer is None:
        return [output.pooler_output.flatten(1)]
    token = kind.takes == "class token"
    found = [states[:, 0] if token else averaged(states) for states in layers_of(output, layer)]
    if kind.takes == "pooled" and isinstance(layer, str):  # computed from the last state
        found.append(output.pooler_output.flatten(1))
    return found


def averaged(states: Tensor) -> Float[Tensor, "b d"]:
    """Return the mean over positions: [b t c] of transformers, [b c h w] of convolutions."""
    return states.mean(dim=1) if states.ndim == 3 else states.mean(dim=(2, 3))


def layers_of(output: Any, layer: HiddenLayer) -> Sequence[Tensor]:
    """Return the states of the selected layers from the output of a transformer."""
    if layer is None:
        return [output.last_hidden_state]
    states: Sequence[Tensor] = output.hidden_states
    return states[1:] if isinstance(layer, str) else [states[layer]]


def joined(vectors: Sequence[Float[Tensor, "b _"]]) -> Float[Tensor, "b d"]:
    """Concatenate the vectors of several layers, each scaled to unit length for equal weight."""
    if len(vectors) == 1:
        return vectors[0]
    return torch.cat([functional.normalize(one, dim=-1) for one in vectors], dim=-1)


_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "Identity": nn.Identity,
    "Tanh": nn.Tanh,
    "ReLU": nn.ReLU,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Sigmoid": nn.Sigmoid,
}


class SentenceNetwork(nn.Module):
    """Network, pooling, dense layers, scaling to unit length: `(ids, mask, pooled) -> vectors`."""

    def __init__(self, recipe: Recipe, layer: HiddenLayer) -> None:
        super().__init__()
        self.network = load_network(recipe.transformer, unused=("pooler.",))
        if getattr(self.network.config, "is_encoder_decoder", False):
            self.network = self.network.get_encoder()  # type: ignore[operator]
        self.layer = resolve_layer(self.network, layer)
        self.pooling = recipe.pooling
        # Dense layers are fitted to the last hidden layer and not valid for another.
        steps = recipe.after if layer is None else ()
        self.after = nn.ModuleList([_dense(folder) if folder else UnitLength() for folder in steps])

    def forward(
        self, ids: Int[Tensor, "b t"], mask: Int[Tensor, "b t"], pooled: Int[Tensor, "b t"]
    ) -> Float[Tensor, "b d"]:
        """Encode a batch; `mask` is 1 for real tokens, `pooled` for those that are pooled."""
        output = self.network(
            input_ids=ids, attention_mask=mask, output_hidden_states=self.layer is not None
        )
        vectors = joined(
            [
                torch.cat([pool(states, pooled, mode) for mode in self.pooling], dim=-1)
                for states in layers_of(output, self.layer)
            ]
        )
        for step in self.after:
            vectors = step(vectors)
        return nn.functional.normalize(vectors, dim=-1)

    def use_plain_attention(self) -> None:
        """Compute attention as matrix products; the exported graph is smaller and 12 % faster."""
        self.network.set_attn_implementation("eager")  # type: ignore[operator]


def pool(
    states: Float[Tensor, "b t d"], mask: Int[Tensor, "b t"], mode: Pooling
) -> Float[Tensor, "b d"]:
    """Pool the states of the tokens whose mask is 1 into one vector."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    match mode:
        case "cls":
            return _pick(states, mask.argmax(dim=1))
        case "lasttoken":
            last = mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
            return _pick(states, last)
        case "max":
            return states.masked_fill(weights == 0, torch.finfo(states.dtype).min).amax(dim=1)
        case "weightedmean":
            locations = torch.arange(
                1, states.shape[1] + 1, device=states.device, dtype=states.dtype
            )
            weights = weights * locations.view(1, -1, 1)
    total = weights.sum(dim=1).clamp(min=1e-9)
    if mode == "mean_sqrt_len_tokens":
        total = total.sqrt()
    return (states * weights).sum(dim=1) / total


def _pick(states: Float[Tensor, "b t d"], locations: Int[Tensor, " b"]) -> Float[Tensor, "b d"]:
    requested = locations.view(-1, 1, 1).expand(-1, 1, states.shape[-1])
    return torch.gather(states, 1, requested).squeeze(1)


def resolve_layer(network: nn.Module, layer: HiddenLayer, last: int | None = None) -> HiddenLayer:
    """Return the index of a hidden layer, 0 for the embeddings; None and "all" are kept.

    Args:
        network: the network with the layers.
        layer: index as the user counts, negative from the end.
        last: highest index, if known; otherwise it is taken from the configuration.

    Raises:
        BadInput: the network has fewer layers, or reads no images of two sizes.
    """
    if layer == "multiscale":
        raise BadInput(
            "layer 'multiscale' is for convolutional networks of images of 64 pixels or more.",
            "Name 'all', or leave the layer out.",
        )
    if layer is None or layer == "all":
        return layer
    if last is None:
        config: Any = network.config
        last = int(config.get_text_config().num_hidden_layers)
    if not -last - 1 <= layer <= last:
        raise BadInput(
            f"layer {layer} is out of range.",
            f"Allowed: 0 (embeddings) to {last}, or {-last - 1} to -1 counted from the end.",
        )
    return layer % (last + 1)


class UnitLength(nn.Module):
    """Scale vectors to length 1."""

    def forward(self, vectors: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """Scale each row."""
        return nn.functional.normalize(vectors, dim=-1)


def _dense(folder: Path) -> nn.Module:
    settings = read_object(folder / "config.json")
    activation = str(settings.get("activation_function", "torch.nn.Tanh")).rpartition(".")[2]
    weights = folder / "model.safetensors"
    refused = activation not in _ACTIVATIONS or settings.get("use_residual")
    if refused or settings.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        raise BadFile(
            f"the dense layer in {folder} is of a kind that is not known here.",
            f"Known: no residual, activation one of {', '.join(_ACTIVATIONS)}.",
        )
    if not weights.exists():
        raise BadFile(f"the dense layer in {folder} has no model.safetensors.", "Convert it first.")
    check_safetensors(weights)
    bias = bool(settings.get("bias", True))
    linear = nn.Linear(int(settings["in_features"]), int(settings["out_features"]), bias=bias)
    state = {key.removeprefix("linear."): value for key, value in load_file(weights).items()}
    try:
        linear.load_state_dict(state)
    except RuntimeError as error:
        raise BadFile(f"the weights in {folder} do not fit: {error}", "Copy it again.") from error
    return nn.Sequential(linear.eval().requires_grad_(False), _ACTIVATIONS[activation]())


def tokenizer_definition(folder: ModelFolder) -> tuple[str, int]:
    """Return the `tokenizer.json` content of the folder's tokenizer, and its padding id.

    Raises:
        BadFile: it has none, or one that the tokenizers library cannot express.
    """
    from transformers import AutoTokenizer

    if not any(path.name in VOCABULARIES for path in folder.path.iterdir()):
        raise BadFile(
            f"model folder {folder.path} has no tokenizer.",
            "Copy tokenizer.json beside the weights.",
        )
    config = build_config(folder)
    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder.path), config=config, local_files_only=True, trust_remote_code=False
            )
            definition = tokenizer.backend_tokenizer.to_str()
        except (OSError, ValueError, AttributeError, ImportError, KeyError, TypeError) as error:
            raise BadFile(
                f"model folder {folder.path} has no tokenizer that can be read: {error}",
                "Copy tokenizer.json beside the weights.",
            ) from error
    return definition, tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0


def read_tokens(recipe: Recipe) -> TokenReader:
    """Load the tokenizer of a recipe."""
    definition, pad_id = tokenizer_definition(recipe.transformer)
    return TokenReader(definition, recipe.max_length, pad_id, recipe.lower_case)


def forward_on(network: SentenceNetwork, device: str) -> Forward:
    """Return the network on `device` as a function of NumPy arrays."""
    location = choose_device(device)
    network = network.to(location)

    def forward(ids: TokenIds, mask: TokenIds, pooled: TokenIds) -> Vectors:
        inputs = (torch.from_numpy(array).to(location) for array in (ids, mask, pooled))
        with torch.inference_mode():
            vectors: Vectors = network(*inputs).float().cpu().numpy()
        return vectors

    return forward


class SeriesNetwork(nn.Module):
    """A network and its pooling, from series to unit vectors.

    Attributes:
        saved: the network as the library saves it.
        network: the part of it that encodes.
        kind: its type.
    """

    def __init__(self, folder: ModelFolder) -> None:
        super().__init__()
        known = SERIES_MODELS[folder.model_type]
        self.saved: Any = load_network(folder, known.network)
        self.network: Any = getattr(self.saved, known.inner) if known.inner else self.saved
        self.kind = folder.model_type
        if self.kind == "patchtst":
            read_one_channel(self.network)

    def prepare(self, series: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Return the network's inputs; series are padded on the left.

        Raises:
            BadInput: a series is longer than the network takes.
        """
        longest = max(len(row) for row in series)
        width = self._width(longest)
        values = np.zeros((len(series), width), dtype=np.float32)
        padding = np.ones((len(series), width), dtype=np.float32)
        for location, row in enumerate(series):
            values[location, width - len(row) :] = row
            padding[location, width - len(row) :] = 0
        return {"values": torch.from_numpy(values), "padding": torch.from_numpy(padding)}

    def forward(
        self, values: Float[Tensor, "b t"], padding: Float[Tensor, "b t"]
    ) -> Float[Tensor, "b d"]:
        """Encode a batch; `padding` is 1 for padded values."""
        if self.kind == "patchtst":
            observed = (1 - padding).unsqueeze(-1)
            output = self.network(past_values=values.unsqueeze(-1), past_observed_mask=observed)
            states = output.last_hidden_state.mean(dim=(1, 2))  # [b c p d] -> [b d]
            return nn.functional.normalize(states, dim=-1)
        options: dict[str, Any] = {"past_values_padding": padding.long()}
        if self.kind == "timesfm":
            options["freq"] = torch.zeros((len(values), 1), dtype=torch.long, device=values.device)
        states = self.network(past_values=values, **options).last_hidden_state  # [b p d]
        length = self.network.config.patch_length
        seen = 1 - padding.view(len(values), -1, length).amin(dim=-1)  # [b p]
        pooled = (states * seen.unsqueeze(-1)).sum(dim=1) / seen.sum(dim=1, keepdim=True)
        return nn.functional.normalize(pooled, dim=-1)

    def _width(self, longest: int) -> int:
        config = self.network.config
        if self.kind != "patchtst":
            return -(-longest // int(config.patch_length)) * int(config.patch_length)
        if longest > config.context_length:
            raise BadInput(
                f"a series has {longest} values; this PatchTST takes {config.context_length}.",
                "Name fewer columns with --content.",
            )
        return int(config.context_length)


def read_one_channel(network: Any) -> None:
    """Let a PatchTST of several channels, whose embedding they share, read a single one.

    Raises:
        BadInput: it has an embedding, or a head, for each.
    """
    config = network.config
    if config.num_input_channels == 1:
        return
    if not config.share_embedding or not config.share_projection:
        raise BadInput(
            f"this PatchTST reads {config.num_input_channels} series at once, each by weights of "
            "its own, and here one is read at a time.",
            "Name one with share_embedding and share_projection, or of one input channel.",
        )
    for module in network.modules():
        if hasattr(module, "num_input_channels"):
            module.num_input_channels = 1

"""ControlNet of a diffusion transformer: diffusers' SD3ControlNetModel and FluxControlNetModel.

It is a copy of the transformer's first blocks (of Flux, of both kinds of them), whose outputs pass
through linear layers that begin at zero and are added to the tokens after the transformer's blocks.
The condition image is encoded by the pipeline's own autoencoder, and its patches are embedded by a
layer that begins at zero too.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..diffusion.pipeline import DiffusionModel, LatentSpace, load_part, quiet
from ..diffusion.transformer import FLUX, SD3, flux_inputs, is_transformer, map_of, packed
from ..diffusion.unet import Inputs, Residuals
from ..errors import BadFile, BadInput, WrongBase
from .branch import DEVIATION, Branch, Shape, make_branch

NAMES = {SD3: "SD3ControlNetModel", FLUX: "FluxControlNetModel"}
_SIZES = ("in_channels", "num_attention_heads", "attention_head_dim", "joint_attention_dim",
          "pooled_projection_dim")  # fmt: skip
_MUST_FIT = {SD3: (*_SIZES, "patch_size"), FLUX: (*_SIZES, "axes_dims_rope")}
_COPIED = {
    SD3: ("pos_embed", "time_text_embed", "context_embedder"),
    FLUX: ("x_embedder", "time_text_embed", "context_embedder"),
}
# Options of a control that change what it reads, and what they mean.
_REFUSED = {
    "extra_conditioning_channels": "channels beside the condition image (inpainting)",
    "num_mode": "kinds of conditions by a number (union)",
    "conditioning_embedding_channels": "channels through a hint encoder of its own",
}


class TransformerBranch(Branch):
    """A ControlNet branch of SD3 or Flux."""

    def __init__(self, net: Any, model: DiffusionModel, shape: Shape) -> None:
        nn.Module.__init__(self)
        self.shape = shape
        self.net = net
        self.pools = True  # all outputs have one size: none counts more for it
        self.is_flux = type(net).__name__ == NAMES[FLUX]
        embed = None  # of the frozen model, which may be in main memory when the branch runs
        if not self.is_flux and net.pos_embed is None:
            embed = copy.deepcopy(model.unet.pos_embed).to(model.device)
        self._base: tuple[LatentSpace, Any] = (model.space, embed)

    @property
    def joins(self) -> nn.ModuleList:  # type: ignore[override]
        """The layers that connect it to the transformer."""
        found: nn.ModuleList = self.net.controlnet_blocks
        return (
            nn.ModuleList([*found, *self.net.controlnet_single_blocks]) if self.is_flux else found
        )

    @property
    def hint_encoder(self) -> Any:  # type: ignore[override]
        """The embedding of the condition's patches."""
        return self.net.controlnet_x_embedder if self.is_flux else self.net.pos_embed_input

    @torch.no_grad()
    def read(self, images: Float[Tensor, "b k y x"]) -> Float[Tensor, "b c h w"]:
        """Encode control images with values from 0 to 1; the result is the same at every step."""
        space = self._base[0]
        latents = space.encode(images)
        if self.net.config.get("force_zeros_for_pooled_projection"):  # such branches have no shift
            config = space.network.config
            latents = latents + (config.get("shift_factor") or 0.0) * config.scaling_factor
        return latents

    def forward(
        self, x: Float[Tensor, "b c h w"], times: Float[Tensor, " b"], hint: Tensor, inputs: Inputs
    ) -> Residuals:
        """Return what is added to the transformer's tokens, as maps; see `Branch.forward`."""
        if self.is_flux:
            return self._of_flux(x, times, hint, inputs)
        config, pooled = self.net.config, inputs["pooled_projections"]
        if config.force_zeros_for_pooled_projection:
            pooled = torch.zeros_like(pooled)
        tokens = self.net(
            hidden_states=x if self._base[1] is None else self._base[1](x),
            controlnet_cond=hint.to(x.dtype).expand(len(x), -1, -1, -1),
            timestep=times,
            encoder_hidden_states=None
            if config.joint_attention_dim is None
            else inputs["encoder_hidden_states"],
            pooled_projections=pooled,
            return_dict=False,
        )[0]
        maps = [map_of(part, x.shape[2] // config.patch_size) for part in tokens]
        return Residuals(tuple(maps[:-1]), maps[-1])

    def _of_flux(self, x: Tensor, times: Tensor, hint: Tensor, inputs: Inputs) -> Residuals:
        guidance = inputs["guidance"] if self.net.config.guidance_embeds else None
        double, single = self.net(
            controlnet_cond=packed(hint.to(x.dtype).expand(len(x), -1, -1, -1)),
            return_dict=False,
            **flux_inputs(x, times, {**inputs, "guidance": guidance}),
        )
        double = double or ()
        maps = [map_of(part, x.shape[2] // 2) for part in (*double, *(single or ()))]
        return Residuals(tuple(maps[:-1]), maps[-1], len(double))


def require_branch(model: DiffusionModel, shape: Shape) -> None:
    """Check that a model can be controlled by a branch of this architecture.

    Raises:
        BadInput: its transformer cannot.
    """
    if not is_transformer(model.unet):
        return
    kind = _kind_of(model)
    few = kind == SD3 and len(model.unet.transformer_blocks) < 2
    if few or not shape.is_plain:
        raise BadInput(
            "a branch of a transformer is a copy of the first half of its blocks.",
            "Take a model of two blocks or more."
            if few
            else "Leave --body, --hint and --middle-only out.",
        )


def new_branch(model: DiffusionModel, shape: Shape, generator: torch.Generator) -> Branch:
    """Create a zero-initialized branch for the U-Net or transformer of a model.

    Raises:
        BadInput: the network cannot be controlled, or not by a branch of this architecture.
    """
    network = model.unet
    if not is_transformer(network):
        return make_branch(network, shape, generator)
    require_branch(model, shape)
    kind = _kind_of(model)
    make: Any = getattr(diffusers, NAMES[kind])
    config = {**network.config, "num_layers": max(1, len(network.transformer_blocks) // 2)}
    if kind == SD3:
        config |= {"extra_conditioning_channels": 0, "force_zeros_for_pooled_projection": False}
    else:
        config |= {"num_single_layers": len(network.single_transformer_blocks) // 2}
        config = {name: value for name, value in config.items() if name != "out_channels"}
    with torch.random.fork_rng(devices=[]), quiet():  # its own first weights are replaced
        net = make.from_config(config)
    for part in _COPIED[kind]:
        getattr(net, part).load_state_dict(getattr(network, part).state_dict())
    for part in ("transformer_blocks", *(("single_transformer_blocks",) if kind == FLUX else ())):
        for own, copied in zip(getattr(net, part), getattr(network, part), strict=False):
            own.load_state_dict(copied.state_dict())
    branch = TransformerBranch(net, model, shape)
    if shape.start == "gaussian":
        for join in branch.joins:
            nn.init.normal_(join.weight, 0.0, DEVIATION, generator=generator)  # type: ignore[arg-type]
    return branch.to(model.device).requires_grad_(True)


def read_transformer_branch(
    folder: Path, config: Mapping[str, Any], model: DiffusionModel
) -> Branch:
    """Load an `SD3ControlNetModel` or `FluxControlNetModel` and check that it fits.

    Raises:
        WrongBase: it belongs to a transformer of another kind or of other sizes.
        BadInput: the model's transformer cannot be controlled.
        BadFile: it needs more than a condition image.
        Damaged: a file is truncated.
    """
    hint = "Name the model that it was made for, or a control made for this one."
    control = f"the control in {folder}"
    there = next(own for own, name in NAMES.items() if name == config["_class_name"])
    kind = _kind_of(model) if is_transformer(model.unet) else type(model.unet).__name__
    if kind != there:
        raise WrongBase(control, f"a pipeline with {there}", f"{model.name} with {kind}", hint)
    for key in _MUST_FIT[kind]:
        pair = (config.get(key), model.unet.config[key])
        own, base = (list(one) if isinstance(one, tuple | list) else one for one in pair)
        if own != base and (key != "joint_attention_dim" or own is not None):
            made_on = f"a transformer with {key} {own}"
            raise WrongBase(control, made_on, f"{model.name}, which has {base}", hint)
    if config.get("guidance_embeds") and not model.guides_itself:
        made_on = "a transformer that reads the guidance scale"
        raise WrongBase(control, made_on, f"{model.name}, which does not", hint)
    for key, meaning in _REFUSED.items():
        if config.get(key):
            raise BadFile(
                f"{folder} reads {config[key]} {meaning}.",
                "Take a control that reads a condition image alone.",
            )
    net = load_part(folder).to(model.device)
    return TransformerBranch(net, model, Shape(model.factor)).eval().requires_grad_(False)


def _kind_of(model: DiffusionModel) -> str:
    kind = type(model.unet).__name__
    if kind not in NAMES:
        raise BadInput(
            f"{model.name} has a {kind}, for which diffusers has no ControlNet; among transformers "
            "those of SD3 and Flux can be controlled.",
            "Take a StableDiffusion3Pipeline, a FluxPipeline, or a pipeline with a U-Net.",
        )
    return kind

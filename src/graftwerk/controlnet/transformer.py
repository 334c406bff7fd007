"""ControlNet of a diffusion transformer: diffusers' `SD3ControlNetModel`.

It is a copy of the transformer's first blocks, whose outputs pass through linear layers that begin
at zero and are added to the tokens after the transformer's blocks. The condition image is encoded
by the pipeline's own autoencoder, and its patches are embedded by a layer that begins at zero too.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..diffusion.pipeline import DiffusionModel, LatentSpace, load_part
from ..diffusion.transformer import SD3, is_transformer, map_of
from ..diffusion.unet import Inputs, Residuals
from ..errors import BadFile, BadInput, WrongBase
from .branch import DEVIATION, Branch, Shape, make_branch

NAME = "SD3ControlNetModel"
_MUST_FIT = ("in_channels", "patch_size", "num_attention_heads", "attention_head_dim",
             "joint_attention_dim", "pooled_projection_dim")  # fmt: skip


class TransformerBranch(Branch):
    """A ControlNet branch of SD3.

    Args:
        net: an `SD3ControlNetModel`.
        model: the frozen pipeline that it controls.
        shape: how it was initialized.
    """

    def __init__(self, net: Any, model: DiffusionModel, shape: Shape) -> None:
        nn.Module.__init__(self)
        self.shape = shape
        self.net = net
        self.pools = True  # all outputs have one size: none counts more for it
        self._base: tuple[LatentSpace, Any] = (model.space, model.unet)  # of the frozen model

    @property
    def joins(self) -> nn.ModuleList:  # type: ignore[override]
        """The layers that connect it to the transformer."""
        found: nn.ModuleList = self.net.controlnet_blocks
        return found

    @property
    def hint_encoder(self) -> Any:  # type: ignore[override]
        """The embedding of the condition's patches."""
        return self.net.pos_embed_input

    @torch.no_grad()
    def read(self, images: Float[Tensor, "b k y x"]) -> Float[Tensor, "b c h w"]:
        """Encode control images with values from 0 to 1; the result is the same at every step."""
        space = self._base[0]
        latents = space.encode(images)
        if self.net.config.force_zeros_for_pooled_projection:  # such branches have no shift
            config = space.network.config
            latents = latents + (config.get("shift_factor") or 0.0) * config.scaling_factor
        return latents

    def forward(
        self, x: Float[Tensor, "b c h w"], times: Float[Tensor, " b"], hint: Tensor, inputs: Inputs
    ) -> Residuals:
        """Return what is added to the transformer's tokens, as maps; see `Branch.forward`."""
        config, pooled = self.net.config, inputs["pooled_projections"]
        if config.force_zeros_for_pooled_projection:
            pooled = torch.zeros_like(pooled)
        tokens = self.net(
            hidden_states=self._base[1].pos_embed(x) if self.net.pos_embed is None else x,
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


def require_branch(model: DiffusionModel, shape: Shape) -> None:
    """Check that a model can be controlled by a branch of this architecture.

    Raises:
        BadInput: its transformer cannot.
    """
    if not is_transformer(model.unet):
        return
    _require_sd3(model)
    blocks = len(model.unet.transformer_blocks)
    if not shape.is_plain or blocks < 2:
        raise BadInput(
            "a branch of a transformer is a copy of the first half of its blocks.",
            "Leave --body, --hint and --middle-only out."
            if blocks > 1
            else "Take a model of two blocks or more.",
        )


def new_branch(model: DiffusionModel, shape: Shape, generator: torch.Generator) -> Branch:
    """Create a zero-initialized branch for the U-Net or transformer of a model.

    Args:
        model: the frozen one.
        shape: architecture; a transformer has but one.
        generator: for the initial weights, on the CPU.

    Raises:
        BadInput: the network cannot be controlled, or not by a branch of this architecture.
    """
    network = model.unet
    if not is_transformer(network):
        return make_branch(network, shape, generator)
    require_branch(model, shape)
    from diffusers import SD3ControlNetModel

    blocks = len(network.transformer_blocks) // 2
    config = {**network.config, "num_layers": blocks, "extra_conditioning_channels": 0}
    make: Any = SD3ControlNetModel
    with torch.random.fork_rng(devices=[]):  # its own first weights are replaced
        net = make.from_config({**config, "force_zeros_for_pooled_projection": False})
    for part in ("pos_embed", "time_text_embed", "context_embedder"):
        getattr(net, part).load_state_dict(getattr(network, part).state_dict())
    for own, copied in zip(net.transformer_blocks, network.transformer_blocks, strict=False):
        own.load_state_dict(copied.state_dict())
    if shape.start == "gaussian":
        for join in net.controlnet_blocks:
            nn.init.normal_(join.weight, 0.0, DEVIATION, generator=generator)
    branch = TransformerBranch(net, model, shape).to(model.device)
    return branch.requires_grad_(True)


def read_transformer_branch(
    folder: Path, config: Mapping[str, Any], model: DiffusionModel
) -> Branch:
    """Load an `SD3ControlNetModel` and check that it fits its transformer.

    Args:
        folder: of the branch.
        config: its configuration.
        model: the frozen pipeline.

    Raises:
        WrongBase: it belongs to a transformer of other sizes.
        BadInput: the model's transformer is not one of SD3.
        BadFile: it needs more than a condition image.
        Damaged: a file is truncated.
    """
    _require_sd3(model)
    for key in _MUST_FIT:
        there, here = config.get(key), model.unet.config[key]
        if there != here and (key, there) != ("joint_attention_dim", None):
            raise WrongBase(
                f"the control in {folder}",
                f"a transformer with {key} {there}",
                f"{model.name}, which has {here}",
                "Name the model that it was made for, or a control made for this one.",
            )
    if extra := config.get("extra_conditioning_channels"):
        raise BadFile(
            f"{folder} reads {extra} channels beside the condition image (inpainting).",
            "Take a control that reads a condition image alone.",
        )
    net = load_part(folder).to(model.device)
    return TransformerBranch(net, model, Shape(model.factor)).eval().requires_grad_(False)


def _require_sd3(model: DiffusionModel) -> None:
    kind = type(model.unet).__name__
    if kind != SD3:
        raise BadInput(
            f"{model.name} has a {kind}; among transformers those of SD3 can be controlled.",
            "Take a StableDiffusion3Pipeline, or a pipeline with a U-Net.",
        )

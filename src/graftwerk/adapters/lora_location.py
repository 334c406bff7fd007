"""The files that a LoRA of a diffusion model consists of, found without reading them."""

from pathlib import Path

from ..errors import BadFile
from ..folders import hint_for
from ..models.checkpoint import PICKLES

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # of peft
PIPELINE_WEIGHTS = "pytorch_lora_weights.safetensors"  # of diffusers
_HINT = "Name a .safetensors file, or a folder of `graft lora train`, peft or diffusers."


def lora_file(path: Path) -> Path | None:
    """Return the path of a LoRA's single file; None for a folder of peft.

    Raises:
        BadFile: there is none, it is in a format that could run code, or there are several files.
    """
    if path.is_file():
        return _single(path)
    if not path.is_dir():
        raise BadFile(f"there is no LoRA {str(path)!r}.", _HINT)
    if (path / CONFIG).is_file():
        return None
    found = sorted(path.glob("*.safetensors"))
    named = [file for file in found if file.name == PIPELINE_WEIGHTS] or found
    if not named:
        pickles = [file for file in sorted(path.iterdir()) if file.suffix in PICKLES]
        if pickles:
            return _single(pickles[0])
        raise BadFile(f"{str(path)!r} holds no LoRA.", hint_for(path, _HINT))
    if len(named) > 1:
        raise BadFile(
            f"{path} holds {len(named)} safetensors files.", f"Name one, for example {named[0]}."
        )
    return named[0]


def _single(path: Path) -> Path:
    if path.suffix == ".safetensors":
        return path
    if path.suffix in PICKLES:
        raise BadFile(
            f"{path} is not a safetensors file; other formats can run code when they are read.",
            "Convert it where you trust it: safetensors.torch.save_file(torch.load(FILE, "
            "weights_only=True), 'lora.safetensors').",
        )
    raise BadFile(f"{str(path)!r} is not a LoRA.", _HINT)

"""Sandboxed conversion of a package's file into a folder of the transformers library.

The process never imports or runs anything from the package. Weights are read as tensors and names
as JSON. From then on it can neither open connections nor start other programs.
"""

import json
import os
import re
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import files, limits
from ...errors import BadFile, GraftError

_FORBIDDEN = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system")
_OTHER = "Take the package of the version that the table names."
_SHOWN = 200  # characters of a library's error


def main() -> None:
    """Run the conversion given by the arguments: converter, target folder, source files."""
    converter, target, *sources = sys.argv[2:]
    _limit()
    replies = os.dup(1)
    for descriptor in (0, 1, 2):  # discard what libraries print
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    try:
        with files.disk_errors():
            CONVERTERS[converter](Path(target), [Path(source) for source in sources])
        reply: Mapping[str, str] = {}
    except GraftError as error:
        reply = error.to_json()
    except OSError as error:
        reply = {"errno": str(error.errno or 0), "message": str(error)}
    except Exception as error:  # parsers can raise almost anything on malformed files
        reason = " ".join(str(error).split())[:_SHOWN]
        kind = type(error).__name__
        reply = BadFile(f"its file cannot be read ({kind}: {reason}).", _OTHER).to_json()
    os.write(replies, json.dumps(reply).encode())


def _limit() -> None:
    for kind, most in (
        (resource.RLIMIT_AS, limits.CONVERTER_MEMORY),
        (resource.RLIMIT_FSIZE, limits.CONVERTED_FILE),
        (resource.RLIMIT_CPU, limits.CONVERTER_SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (most if hard < 0 else min(most, hard), hard))


def _shut() -> None:
    """Forbid connections and new programs; called after the imports, since some start programs."""

    def refuse(event: str, _: Any) -> None:
        if event.startswith(_FORBIDDEN):
            raise PermissionError(f"{event} is forbidden while a model is converted")

    sys.addaudithook(refuse)


# name prefixes of the author's tensors and of the library's; the rest is unchanged
_LITE = (
    (r"^_conv_stem\.", "efficientnet.embeddings.convolution."),
    (r"^_bn0\.", "efficientnet.embeddings.batchnorm."),
    (r"^_conv_head\.", "efficientnet.encoder.top_conv."),
    (r"^_bn1\.", "efficientnet.encoder.top_bn."),
    (r"^_fc\.", "classifier."),
    (r"^_blocks\.(\d+)\._expand_conv\.", r"efficientnet.encoder.blocks.\1.expansion.expand_conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"efficientnet.encoder.blocks.\1.expansion.expand_bn."),
    (
        r"^_blocks\.(\d+)\._depthwise_conv\.",
        r"efficientnet.encoder.blocks.\1.depthwise_conv.depthwise_conv.",
    ),
    (r"^_blocks\.(\d+)\._bn1\.", r"efficientnet.encoder.blocks.\1.depthwise_conv.depthwise_norm."),
    (
        r"^_blocks\.(\d+)\._project_conv\.",
        r"efficientnet.encoder.blocks.\1.projection.project_conv.",
    ),
    (r"^_blocks\.(\d+)\._bn2\.", r"efficientnet.encoder.blocks.\1.projection.project_bn."),
)
_OPEN_GATE = 30.0  # sigmoid(30) is 1 in 32 bits
# the author's preprocessing: (x - 127) / 128 for x from 0 to 255
_LITE_IMAGES = {
    "image_processor_type": "BitImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [127 / 255] * 3,
    "image_std": [128 / 255] * 3,
    "do_convert_rgb": True,
}


def lite_name(name: str) -> str:
    """Return the transformers library's name for a tensor of EfficientNet-Lite."""
    for pattern, replacement in _LITE:
        name, count = re.subn(pattern, replacement, name)
        if count:
            break
    return name


def efficientnet_lite0(target: Path, sources: Sequence[Path]) -> None:
    """Convert EfficientNet-Lite0 and the names of its classes.

    Raises:
        BadFile: the tensors are of another network, or there are not 1,000 names.
    """
    import torch
    from transformers import EfficientNetConfig, EfficientNetForImageClassification

    _shut()
    found = torch.load(sources[0], map_location="cpu", weights_only=True)
    names = files.read_json(sources[1])
    if not isinstance(names, dict) or sorted(map(str, names)) != sorted(map(str, range(1000))):
        raise BadFile("its names are not those of 1,000 classes.", _OTHER)
    listed = [str(names[str(number)]) for number in range(1000)]
    # "crane" is both a bird and a machine: each class gets a distinct name
    labels = {
        number: f"{name}, class {number}" if listed.count(name) > 1 else name
        for number, name in enumerate(listed)
    }
    config = EfficientNetConfig(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        image_size=224,
        hidden_act="relu6",
        hidden_dim=1280,
        batch_norm_eps=1e-3,
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
    )
    network = EfficientNetForImageClassification(config)
    state = network.state_dict()
    for name, tensor in state.items():
        if ".squeeze_excite." in name:
            tensor.fill_(_OPEN_GATE if name.endswith("expand.bias") else 0.0)
    renamed = {lite_name(str(name)): tensor for name, tensor in _tensors(found).items()}
    expected = {name for name in state if ".squeeze_excite." not in name}
    odd = sorted(expected.symmetric_difference(renamed))
    odd += [
        name for name in sorted(expected - set(odd)) if renamed[name].shape != state[name].shape
    ]
    if odd:
        raise BadFile(f"its weights are not EfficientNet-Lite0's: {odd[0]} differs.", _OTHER)
    network.load_state_dict(state | renamed)
    network.save_pretrained(target)
    files.write_json(target / "preprocessor_config.json", _LITE_IMAGES)


def _tensors(found: Any) -> Mapping[str, Any]:
    import torch

    if not isinstance(found, Mapping) or not all(
        isinstance(v, torch.Tensor) for v in found.values()
    ):
        raise BadFile("it holds something else than tensors.", _OTHER)
    return found


def gguf(target: Path, sources: Sequence[Path]) -> None:
    """Convert a Llama-like language model in a GGUF file to half precision.

    Raises:
        BadFile: it is of another architecture.
    """
    import torch
    from gguf import GGUFReader
    from transformers import AutoTokenizer, LlamaForCausalLM

    _shut()
    field = GGUFReader(sources[0]).get_field("general.architecture")
    kind = None if field is None else str(field.contents())
    if kind != "llama":
        raise BadFile(f"it holds a model of architecture {kind!r}, not llama.", _OTHER)
    place: dict[str, Any] = {
        "pretrained_model_name_or_path": str(sources[0].parent),
        "gguf_file": sources[0].name,
    }
    tokenizer: Any = AutoTokenizer
    tokenizer.from_pretrained(**place, local_files_only=True).save_pretrained(target)
    network: Any = LlamaForCausalLM.from_pretrained(
        **place, local_files_only=True, dtype=torch.float32
    )
    # the library refuses to save models read from GGUF, although these are plain tensors by now
    network.hf_quantizer, network.is_quantized, network.quantization_method = None, False, None
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    network.half().save_pretrained(target)


def blazepose(target: Path, sources: Sequence[Path]) -> None:
    """Keep both files of BlazePose, if they load and read and give what they should.

    Raises:
        BadFile: they are of other networks.
    """
    from ai_edge_litert.interpreter import Interpreter

    _shut()
    for source, side, widths in zip(sources, (256, 224), ((195, 1), (12, 1)), strict=True):
        content = source.read_bytes()
        network = Interpreter(model_content=content, num_threads=1)
        given = [list(one["shape"]) for one in network.get_input_details()]
        found = tuple(int(one["shape"][-1]) for one in network.get_output_details()[:2])
        if given != [[1, side, side, 3]] or found != widths:
            raise BadFile(f"{source.name} is of another network than BlazePose.", _OTHER)
        files.write_bytes(target / source.name, content)
    files.write_json(target / "config.json", {"model_type": "blazepose"})


_VGG = (2, 2, 3, 3, 3)  # convolutions in each block


def hed(target: Path, sources: Sequence[Path]) -> None:
    """Convert HED from a weight file of Keras.

    Raises:
        BadFile: it lacks a tensor, or one of them cannot be that of a convolution.
    """
    import h5py
    import torch
    from safetensors.torch import save_file

    _shut()
    names = {"fuse": "fuse"} | {f"dsn{n + 1}": f"sides.{n}" for n in range(len(_VGG))}
    for block, count in enumerate(_VGG):
        for n in range(count):
            suffix = f"_{n}" if n else ""
            names[f"block{block + 1}/layers/conv2d{suffix}"] = f"blocks.{block}.{n}"
    state = {}
    with h5py.File(sources[0]) as content:
        for theirs, ours in names.items():
            for number, (part, axes) in enumerate((("weight", 4), ("bias", 1))):
                entry = content.get(f"{theirs}/vars/{number}")
                if not isinstance(entry, h5py.Dataset) or entry.ndim != axes or entry.dtype != "f4":
                    raise BadFile(f"it has no {part} for {theirs}.", _OTHER)
                tensor = torch.from_numpy(entry[()])
                tensor = tensor.permute(3, 2, 0, 1) if axes == 4 else tensor
                state[f"{ours}.{part}"] = tensor.contiguous()
    save_file(state, target / "model.safetensors")
    files.write_json(target / "config.json", {"model_type": "hed"})


CONVERTERS: Mapping[str, Callable[[Path, Sequence[Path]], None]] = {
    "efficientnet_lite0": efficientnet_lite0,
    "gguf": gguf,
    "blazepose": blazepose,
    "hed": hed,
}

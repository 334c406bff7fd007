"""The table of recipes and their interface; a recipe's module is imported only when it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..blocks.scene import SIDE
from ..errors import UnknownName
from ..models.hub import CONTROLS
from ..training.session import Plan, Task
from ..types import Monitor

if TYPE_CHECKING:
    from torch import Tensor

    from ..training.session import Session


@dataclass(frozen=True, slots=True)
class Entry:
    """A recipe.

    Attributes:
        name: what it is called; its module has the same name, with `_` for `-`.
        about: what it makes.
        limits: what it cannot do.
        layout: in whose form the result lies.
        needs: recipes whose results it is made from.
        takes: recipes whose results it can go on from.
        judged: whether a judge measures it.
        variant: which of the recipes of its module; empty: the module's only one.
        builtin: name of the built-in model that it made.
        material: what it is made from, counted: scenes of the Blocks world, or made-up series.
        reach: figures that it aims at, by their name in `graft recipe eval`; a name that ends in
            `_percent` is an error, to be below.
    """

    name: str
    about: str
    limits: str
    layout: str
    reach: Mapping[str, float]
    builtin: str
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    judged: bool = False
    variant: str = ""
    material: str = "scenes"

    def load(self) -> Any:
        """Import the recipe; see `Recipe` for its interface."""
        if self.variant:
            name = self.name.removesuffix(f"-{self.variant}")
            return import_module(f".{name}", __package__).variant(self.variant)
        return import_module(f".{self.name.replace('-', '_')}", __package__)


RECIPES: tuple[Entry, ...] = (
    Entry(
        "judge",
        "names every object (kind, color, place), ground and time of an image",
        "It knows clean images of Blocks scenes with one to four objects, and nothing else.",
        "safetensors and config.json of graftwerk",
        {"kind_and_colour": 0.98},
        "builtin/blocks-judge",
    ),
    Entry(
        "clip",
        "puts images and captions in one space",
        "It knows Blocks scenes and the words of their captions, and nothing else.",
        "CLIPModel of transformers",
        {"zero_shot": 0.95, "text_to_image_recall_at_1": 0.7},
        "builtin/blocks-clip",
        takes=("clip",),
    ),
    Entry(
        "perception",
        "reads depth, normals, segmentation and key points out of an image",
        "It knows clean images of Blocks scenes. Depth is 1 over the distance in scene units.",
        "safetensors and config.json of graftwerk",
        {"mean_iou": 0.85, "depth_rmse_percent": 5.0, "keypoints_pck": 0.85},
        "builtin/blocks-perception",
    ),
    Entry(
        "autoencoder",
        "turns images into latents of an eighth or a sixteenth of their sides, and back",
        "It was trained on images of Blocks scenes and blurs what else it is given.",
        "AutoencoderKL of diffusers",
        {"psnr_db": 30.0, "edge_f1": 0.9},
        "builtin/blocks-autoencoder",
        needs=("perception",),
        takes=("autoencoder",),
        judged=True,
    ),
    Entry(
        "diffusion",
        "generates images from captions, in latents",
        "It generates Blocks scenes of one size from captions of their grammar.",
        "StableDiffusionPipeline of diffusers",
        {"one_object": 0.9, "two_objects": 0.6, "ground_and_time": 0.95},
        "builtin/blocks",
        needs=("clip", "autoencoder"),
        takes=("diffusion",),
        judged=True,
    ),
    Entry(
        "noisy-classifier",
        "names kinds, colors, ground and time behind noisy latents, to guide their drawing",
        "It knows the latents of one autoencoder, whose identity its config.json holds.",
        "safetensors and config.json of graftwerk",
        {"accuracy_at_0.1": 0.9},
        "builtin/blocks-noisy-classifier",
        needs=("autoencoder",),
    ),
    Entry(
        "series",
        "forecasts a time series, with quantiles",
        "It was trained on made-up series alone, of one variable, 128 values ahead at once.",
        "safetensors and config.json of graftwerk",
        {"mase_percent": 85.0},
        "builtin/series",
        material="series",
    ),
    Entry(
        "policy",
        "moves a gripper above the red cube, from images and the gripper's position",
        "It knows one object, one camera, one gripper and scenes of the reaching task.",
        "safetensors and config.json of graftwerk",
        {"success": 0.9},
        "builtin/policy",
        needs=("perception",),
    ),
    *(
        Entry(
            f"control-{condition}",
            f"makes builtin/blocks follow {CONTROLS[condition]}",
            "It steers builtin/blocks as it was when the branch was trained, and no other model.",
            "safetensors and config.json of graftwerk",
            {"kept": kept, "kept_unprompted": 0.85},
            f"builtin/blocks-{condition}",
            needs=("diffusion",),
            judged=True,
            variant=condition,
        )
        for condition, kept in (
            ("canny", 0.7),
            ("hough", 0.7),
            ("scribble", 0.6),
            ("pose", 0.6),
            ("segmentation", 0.8),
            ("normals", 0.8),
            ("depth", 0.8),
            ("lineart", 0.7),
        )
    ),
)


def find(name: str) -> Entry:
    """Return the recipe with this name."""
    for entry in RECIPES:
        if entry.name == name:
            return entry
    raise UnknownName("recipe", name, [entry.name for entry in RECIPES])


LARGE_SIDE = 128  # of images in pixels, where it is not `SIDE`
TRAINING_WORLD, HELD_OUT_WORLD = 1, 2  # seeds of scenes
REPEATS = 0.15  # chance of training scenes that an object is like another: "two red cubes"


class Sizes(Protocol):
    """The hyperparameters of a recipe: a frozen dataclass of plain values."""

    @property
    def plan(self) -> Plan:
        """Steps, batch size and learning rate."""
        ...

    @property
    def scenes(self) -> int:
        """Number of different training scenes."""
        ...


@dataclass(frozen=True)
class Setting:
    """The environment of a recipe.

    Attributes:
        seed: of initial weights, order and noise.
        device: `cpu`, `cuda` or `mps`.
        dependencies: folders of the finished models that it uses, by recipe.
        monitor: shows progress of preparing the data.
        side: of all images, in pixels.
    """

    seed: int
    device: str
    dependencies: Mapping[str, Path]
    monitor: Monitor
    side: int = SIDE


class Work(Task, Protocol):
    """A task that can save its model."""

    def save(self, folder: Path, weights: "Mapping[str, Tensor]") -> None:
        """Write the model with these weights, in the format of its own library."""
        ...


@runtime_checkable
class Observable(Protocol):
    """A task that evaluates itself during training."""

    def watcher(self, session: "Session") -> Any:
        """Return an object whose `watch` is the session's; see `training.session.Session`."""
        ...


class Recipe(Protocol):
    """The interface of a recipe's module.

    Attributes:
        REAL: hyperparameters for use. Those that differ for images of `LARGE_SIDE` are in `LARGE`,
            where there are any.
        complete: adds files computed with the stored model, as a function of its folder and the
            setting; only where there are any.
        TINY: hyperparameters for tests.
    """

    REAL: Any
    TINY: Any

    def prepare(self, sizes: Any, setting: Setting) -> Work:
        """Create data and network."""
        ...

    def evaluate(self, folder: Path, count: int, setting: Setting) -> dict[str, float]:
        """Evaluate a saved model on `count` held-out scenes."""
        ...

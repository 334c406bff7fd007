"""Requests of the Blocks world and its recipes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from .. import limits
from .base import (
    POSITIONAL,
    Advanced,
    OptionalPath,
    Output,
    PathField,
    Request,
    SceneSide,
    Training,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.blocks.results
    import graftwerk.policy.results  # noqa: F401  named in brackets below


View = Literal["front", "left", "high"]  # cameras of the reaching task
GoalObject = Annotated[
    str, Field(min_length=1, description="color and kind of the object to reach")
]


class BlocksRender(Request["graftwerk.blocks.results.BlocksData"]):
    """Render scenes of the Blocks world into a data set folder: images, captions, exact maps."""

    count: int = Field(default=100, ge=1, le=limits.SCENES, description="number of scenes")
    size: SceneSide = 64
    objects: int | None = Field(
        default=None,
        ge=1,
        le=4,
        description="number of objects in each scene; default: one to four",
    )
    out: PathField = Field(description="output folder; new or empty")


class BlocksShow(Request["graftwerk.blocks.results.BlocksSheet"]):
    """Render one scene of the Blocks world with all its maps side by side."""

    scene: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="index of the scene for this --seed, as counted by `graft blocks render`",
        json_schema_extra=POSITIONAL,
    )
    size: SceneSide = 256
    out: PathField = path_field(default=Path("scene.png"), description="output file (PNG)")


class BlocksEpisodes(Request["graftwerk.policy.results.EpisodesWritten"]):
    """Record an expert that moves a gripper above an object, in LeRobot's folder layout."""

    count: int = Field(default=50, ge=1, le=limits.EPISODES, description="number of episodes")
    target: GoalObject = "red cube"
    camera: View = Field(default="front", description="where the camera is")
    size: SceneSide = 64
    out: PathField = Field(description="output folder; new or empty")


class BlocksReplay(Request["graftwerk.policy.results.EpisodeShown"]):
    """Show an episode of a robot: its frames in a row, or as a film."""

    data: PathField = Field(
        description="data set in LeRobot's folder layout", json_schema_extra=POSITIONAL
    )
    episode: int = Field(default=0, ge=0, lt=limits.EPISODES, description="number of the episode")
    out: PathField = path_field(
        default=Path("episode.png"), description="output file (.png, or .gif for a film)"
    )


JudgeFolder = Annotated[
    Path | None,
    Field(
        description=(
            "folder of a trained judge, which classifies what an image shows (for diffusion, "
            "control and autoencoder); default: the built-in one"
        )
    ),
]


class RecipeList(Request["graftwerk.blocks.results.RecipeList"]):
    """List the recipes that train the built-in models, with the target of each."""


class RecipeRun(Request["graftwerk.blocks.results.RecipeResult"]):
    """Train a built-in model from scratch, or resume an earlier run."""

    name: str = Field(description="name of the recipe", json_schema_extra=POSITIONAL)
    out: Output[PathField] = Field(
        description="folder for the model, its log and its checkpoints; a later run resumes from it"
    )
    minutes: Training[float | None] = Field(
        default=None,
        gt=0,
        le=limits.TRAINING_MINUTES,
        description="stop after this many minutes; run the command again to resume",
    )
    steps: Training[int | None] = Field(
        default=None,
        ge=1,
        le=limits.TRAINING_STEPS,
        description="total steps; default: the recipe's own",
    )
    batch: Training[int | None] = Field(
        default=None,
        ge=1,
        le=limits.BATCH,
        description=(
            "batch size; default: the recipe's own, which suits two cores. Use 512 or more on a GPU"
        ),
    )
    learning_rate: Training[float | None] = Field(
        default=None, gt=0, le=1, description="peak learning rate; default: the recipe's own"
    )
    scenes: Training[int | None] = Field(
        default=None,
        ge=8,
        le=limits.SCENES,
        description="number of training scenes or series; default: the recipe's own",
    )
    precision: Training[Literal["auto", "float32", "bfloat16"]] = Field(
        default="auto",
        description="floating-point precision; auto: bfloat16 if the device supports it",
    )
    side: Training[Literal[64, 128] | None] = Field(
        default=None,
        description="image size in pixels; default: that of the models it depends on, otherwise 64",
    )
    tiny: Training[bool] = Field(
        default=False, description="train a very small model on a few scenes, to try the recipe"
    )
    clip: Advanced[OptionalPath] = path_field(
        default=None,
        description="result of the recipe clip (for diffusion; default: the built-in one; for clip "
        "itself: keep its text half and train its image half further)",
    )
    autoencoder: Advanced[OptionalPath] = path_field(
        default=None,
        description="result of the recipe autoencoder (for diffusion and noisy-classifier; "
        "default: the built-in one; for autoencoder itself: keep its encoder and train its "
        "decoder further)",
    )
    perception: Advanced[OptionalPath] = path_field(
        default=None,
        description="result of the recipe perception (for autoencoder, which compares images by "
        "its features; default: the built-in one)",
    )
    diffusion: Advanced[OptionalPath] = path_field(
        default=None,
        description="result of the recipe diffusion (for control: the model that is steered; "
        "default: the built-in one; for diffusion itself: train its U-Net further)",
    )
    judge: JudgeFolder = None


class RecipeEval(Request["graftwerk.blocks.results.RecipeEvaluation"]):
    """Evaluate a trained model on held-out scenes or series."""

    name: str = Field(description="name of the recipe", json_schema_extra=POSITIONAL)
    model: OptionalPath = path_field(
        default=None,
        description="folder written by `graft recipe run`; default: the built-in model",
    )
    count: int = Field(
        default=1_000, ge=8, le=limits.SCENES, description="number of held-out scenes or series"
    )
    diffusion: OptionalPath = path_field(
        default=None,
        description="result of the recipe diffusion (for control: the model that is steered); "
        "default: the built-in one",
    )
    autoencoder: OptionalPath = path_field(
        default=None,
        description="result of the recipe autoencoder (for autoencoder: measured beside; for "
        "noisy-classifier: the one whose latents it knows); default: the built-in one",
    )
    sheet: OptionalPath = path_field(
        default=None,
        description="PNG file to write (for autoencoder): renders beside their reconstructions",
    )
    judge: JudgeFolder = None

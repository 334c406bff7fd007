"""One frozen request per verb: command-line flags, HTTP schema and Python keywords come from it.

A field marked `positional` is a bare argument on the command line. Paths are plain strings so
that a file name of any bytes survives.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from . import limits

POSITIONAL: JsonDict = {"positional": True}

Mode = Literal["hybrid", "vector", "text"]
Device = Literal["auto", "cpu", "cuda", "mps"]
IndexFolder = Annotated[Path, Field(description="folder of the index")]
EncoderName = Annotated[
    str,
    Field(
        description="builtin/minilm, static (fast, distilled from it), static:MODEL, a local "
        "folder, or a hub id NAME@REVISION"
    ),
]
Layer = Annotated[
    int | None,
    Field(ge=-64, le=256, description="take this hidden layer instead of the last (0: embeddings)"),
]
HitCount = Annotated[int, Field(ge=0, le=limits.HITS)]
SceneSide = Annotated[
    int, Field(ge=16, le=limits.SCENE_SIDE, description="side of a picture in pixels")
]
DEFAULT_INDEX = Path(".graftwerk")
DEFAULT_ENCODER = "builtin/minilm"
DEFAULT_PIPELINE = "builtin/blocks"


class Request(BaseModel):
    """What every verb takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0, lt=2**63, description="seed of everything random")
    device: Device = Field("auto", description="where models run")


class IndexAdd(Request):
    """Read files and folders, cut them into passages, embed them, and store them in an index."""

    paths: list[str] = Field(
        min_length=1, description="files and folders to read", json_schema_extra=POSITIONAL
    )
    index: IndexFolder = DEFAULT_INDEX
    encoder: EncoderName | None = Field(
        None, description=f"encoder of a new index (default: {DEFAULT_ENCODER}); see `graft models`"
    )
    layer: Layer = None


class IndexStatus(Request):
    """Tell what an index holds and with which encoder it was made."""

    index: IndexFolder = DEFAULT_INDEX


class IndexVerify(Request):
    """Check every stored text, vector and byte of an index; measure the approximate search."""

    index: IndexFolder = DEFAULT_INDEX
    repair: bool = Field(False, description="mend what is damaged from the stored texts")


class IndexRemove(Request):
    """Take files or whole folders out of an index; the files themselves stay."""

    paths: list[str] = Field(
        min_length=1, description="files and folders to take out", json_schema_extra=POSITIONAL
    )
    index: IndexFolder = DEFAULT_INDEX


class IndexRebuild(Request):
    """Make vectors, full text and snapshot anew from the stored texts."""

    index: IndexFolder = DEFAULT_INDEX
    encoder: EncoderName | None = Field(None, description="change the index to this encoder")
    layer: Layer = None


class Search(Request):
    """Find passages and pictures by meaning, by words, or by both."""

    query: str = Field(
        min_length=1,
        max_length=limits.QUESTION_CHARACTERS,
        description="text, or the path of an image file",
        json_schema_extra=POSITIONAL,
    )
    index: IndexFolder = DEFAULT_INDEX
    k: HitCount = Field(10, description="number of hits")
    mode: Mode = Field("hybrid", description="meaning and words, meaning alone, or words alone")
    exact: bool = Field(False, description="compare with every vector; skip the first pass by bits")
    where: list[str] = Field(
        default_factory=list,
        description="condition on path, name, kind, heading, page or line, e.g. 'path like %.md'; "
        "all must hold",
    )


class Embed(Request):
    """Turn texts or pictures into vectors."""

    inputs: list[str] = Field(
        min_length=1,
        description="texts, image files, or - for one text per line on standard input",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = DEFAULT_ENCODER
    layer: Layer = None
    role: Literal["query", "document"] = Field(
        "document", description="which prompt of the model's own configuration goes before a text"
    )
    out: Path | None = Field(None, description="file to write: .npy or .parquet; else to stdout")


class Ask(Request):
    """Answer a question from an index, with citations that are checked against their source."""

    question: str = Field(
        min_length=1,
        max_length=limits.QUESTION_CHARACTERS,
        description="the question",
        json_schema_extra=POSITIONAL,
    )
    index: IndexFolder = DEFAULT_INDEX
    k: HitCount = Field(5, description="passages offered to the writer; 0: the bare question")
    mode: Mode = Field("hybrid", description="how passages are found")
    where: list[str] = Field(default_factory=list, description="as in `graft search`")
    writer: str = Field(
        "extractive",
        description="extractive (quotes sentences), http(s)://... of an OpenAI-compatible server, "
        "a local folder, or a hub id NAME@REVISION of a causal language model",
    )
    writer_model: str | None = Field(None, description="model name to ask the server for")
    budget: int = Field(2048, ge=64, le=1_000_000, description="tokens the prompt may have")
    max_tokens: int = Field(512, ge=1, le=32_768, description="tokens the answer may have")
    timeout: float = Field(60.0, gt=0, le=3600, description="seconds of silence from a server")
    evidence: float | None = Field(
        None, ge=0, le=1, description="evidence floor to use instead of the calibrated one"
    )
    show_prompt: bool = Field(False, description="show the prompt as it was sent")


class Calibrate(Request):
    """Set the evidence floor of an index from answerable and unanswerable questions."""

    file: Path = Field(
        description='JSON lines: {"question": ..., "answerable": true or false}',
        json_schema_extra=POSITIONAL,
    )
    index: IndexFolder = DEFAULT_INDEX
    false_answer_rate: float = Field(
        0.1, gt=0, lt=1, description="share of unanswerable questions that may be answered"
    )


class EvalRetrieval(Request):
    """Measure search on a file of paragraphs with questions."""

    file: Path = Field(
        description="JSON: [{id, text, questions: [{question, answers}]}]",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = DEFAULT_ENCODER
    layer: Layer = None


class EvalSimilarity(Request):
    """Measure an encoder by the rank correlation of its cosines with human judgements."""

    file: Path = Field(description="CSV: text, text, score", json_schema_extra=POSITIONAL)
    encoder: EncoderName = DEFAULT_ENCODER
    layer: Layer = None


class EvalAnswers(Request):
    """Measure answers on a file of paragraphs with questions, some not answerable."""

    file: Path = Field(
        description="JSON: [{id, title, text, questions: [{question, answers}]}]",
        json_schema_extra=POSITIONAL,
    )
    encoder: EncoderName = DEFAULT_ENCODER
    writer: str = Field("extractive", description="as in `graft ask`")
    writer_model: str | None = Field(None, description="model name to ask the server for")
    k: HitCount = Field(5, description="passages offered to the writer")
    held_out: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="share of paragraphs left out, so that their questions have no answer",
    )


class ModelsList(Request):
    """List the built-in models."""


class ModelsInfo(Request):
    """Tell what a model is: kind, size, fingerprint, card."""

    name: EncoderName = Field(description="name of a model", json_schema_extra=POSITIONAL)


class BlocksRender(Request):
    """Render scenes of the Blocks world into a data set folder: pictures, captions, exact maps."""

    count: int = Field(100, ge=1, le=limits.SCENES, description="number of scenes")
    size: SceneSide = 64
    out: Path = Field(description="folder to write; new or empty")


class BlocksShow(Request):
    """Draw one scene of the Blocks world with all its maps side by side."""

    scene: int = Field(
        0,
        ge=0,
        lt=2**63,
        description="number of the scene in the seed's world, as `graft blocks render` counts them",
        json_schema_extra=POSITIONAL,
    )
    size: SceneSide = 256
    out: Path = Field(Path("scene.png"), description="PNG file to write")


class RecipeList(Request):
    """List the recipes that train the built-in models, and what each aims at."""


class RecipeRun(Request):
    """Train a model of the Blocks world from nothing, or go on where a former run was stopped."""

    name: str = Field(description="name of the recipe", json_schema_extra=POSITIONAL)
    out: Path = Field(
        description="folder for the model, its log and checkpoints; kept for resuming"
    )
    minutes: float | None = Field(
        None, gt=0, le=limits.TRAINING_MINUTES, description="stop after so long; run again to go on"
    )
    steps: int | None = Field(
        None, ge=1, le=limits.TRAINING_STEPS, description="steps in all; default: the recipe's own"
    )
    tiny: bool = Field(False, description="a very small model on few scenes, to try the recipe")
    clip: Path | None = Field(None, description="result of the recipe clip (for diffusion)")
    autoencoder: Path | None = Field(
        None, description="result of the recipe autoencoder (for diffusion)"
    )


class RecipeEval(Request):
    """Measure a trained model of the Blocks world on scenes that it has never seen."""

    name: str = Field(description="name of the recipe", json_schema_extra=POSITIONAL)
    model: Path = Field(description="folder that `graft recipe run` wrote")
    count: int = Field(1_000, ge=8, le=limits.SCENES, description="number of held-out scenes")
    judge: Path | None = Field(
        None, description="result of the recipe judge, which names what was drawn (for diffusion)"
    )


class Generate(Request):
    """Draw pictures from a prompt with a diffusion model."""

    prompt: str = Field(
        "",
        max_length=limits.PROMPT_CHARACTERS,
        description="what to draw; empty: whatever the model likes",
        json_schema_extra=POSITIONAL,
    )
    model: str = Field(
        DEFAULT_PIPELINE,
        description="builtin/blocks, a folder in diffusers' layout, or a hub id NAME@REVISION",
    )
    count: int = Field(4, ge=1, le=limits.PICTURES, description="number of pictures")
    steps: int = Field(25, ge=1, le=limits.SAMPLING_STEPS, description="steps of the sampler")
    sampler: str = Field("dpmpp_2m", description="ddpm, ddim, euler, heun or dpmpp_2m")
    schedule: Literal["karras", "model"] = Field(
        "karras", description="spacing of the noise levels: Karras', or the model's own"
    )
    cfg: float = Field(
        5.0, ge=0, le=100, description="weight of the prompt (classifier-free guidance); 1: as is"
    )
    cfg_interval: str | None = Field(
        None, description="noise levels LO:HI (sigma) in which --cfg acts; outside it costs nothing"
    )
    eta: float = Field(0.0, ge=0, le=1, description="share of fresh noise in a step of ddim")
    width: int | None = Field(
        None, ge=1, le=limits.PICTURE_SIDE, description="pixels; default: the model's own"
    )
    height: int | None = Field(
        None, ge=1, le=limits.PICTURE_SIDE, description="pixels; default: the model's own"
    )
    negative: str = Field(
        "", max_length=limits.PROMPT_CHARACTERS, description="what to get away from"
    )
    out: Path = Field(Path("pictures"), description="folder for the pictures")
    previews: Path | None = Field(None, description="folder for the picture as each step sees it")
    from_: Path | None = Field(
        None,
        description="repeat this picture bit for bit; options given beside it change the repeat",
    )


class Tour(Request):
    """Index, search, ask and check the example handbook; write a page to look at."""

    out: Path = Field(Path("tour"), description="folder for index.html and what it shows")

"""Reports of generated images, realism checks, inversions and guidance sweeps."""

from typing import Literal

from pydantic import Field

from ..results import Report

Verdict = Literal["real", "not the class", "adversarial", "strange", "no verdict"]


class CheckReport(Report):
    """Result of one realism check on an image."""

    name: str = Field(
        description="guide, judge, composition, residual, spectrum, neighbours or probe"
    )
    reading: float = Field(
        description="guide: probability of the class; judge: 1 where it sees it; composition: 0 "
        "where the world has such scenes, 2 where it has not; of the others the distance from real "
        "images, where 1 is what 95 % of them keep"
    )
    agrees: bool = Field(description="whether it takes the image for a real one of the class")


class ImageVerdict(Report):
    """Results of all realism checks on one image."""

    path: str = Field(description="the image")
    verdict: Verdict = Field(
        description="real: like real images, and the judge sees the class; not the class: like "
        "real images without it; adversarial: the guide, but no judge, sees the class in what is "
        "not like real images; strange: not like real images otherwise; no verdict: nothing speaks "
        "against it, but the realism check failed its self-test"
    )
    strangeness: float = Field(
        description="the largest of composition, residual, spectrum, neighbours, probe and "
        "squeezing, or the last five together if that is more (root mean square); 1 is what 95 % "
        "of real images keep"
    )
    witnesses: list[CheckReport] = Field(description="each one's reading")


class SelfTest(Report):
    """Results of a realism check on images that are certainly not real."""

    world: str = Field(description="what its networks know")
    unlike: float | None = Field(
        description="share of the real images that are unlike these; null: its encoder cannot tell"
    )
    noise: float = Field(description="share of images of noise that it finds strange")
    blurred: float = Field(description="the same of blurred real images")
    shuffled: float = Field(description="the same of real images in 8 x 8 tiles, shuffled")
    passed: bool = Field(description="whether all of them are high enough that it may say real")


class GuideVerdicts(Report):
    """Result of `guide check`."""

    label: str | None = Field(description="the class that was asked for")
    pictures: list[ImageVerdict] = Field(description="the images, in their order")
    limit: float = Field(description="strangeness above which an image is not like real ones")
    real: int = Field(description="real images that the realism checks learned from")
    self_test: SelfTest = Field(description="what they make of images that are not real")
    seconds: float = Field(description="wall time")


class Inversion(Report):
    """Result of `invert`."""

    to: str = Field(description="where it was moved to")
    space: str = Field(description="what was moved")
    pictures: list[str] = Field(description="PNG files of the results")
    film: str = Field(description="the first image on its way, from left to right")
    losses_file: str = Field(description="JSON file of every step's loss")
    losses: list[float] = Field(
        description="before each step and at the end, mean of the images: -log p of a class, "
        "1 - cosine of a sentence, mean squared error of an image; none for DDIM inversion"
    )
    psnr_db: float | None = Field(
        description="of the image that comes back from its noise, for DDIM inversion"
    )
    psnr_db_of_decoder: float | None = Field(
        description="of the image that comes back from the autoencoder alone"
    )
    verdicts: list[ImageVerdict] = Field(description="what the realism checks say of each image")
    self_test: SelfTest | None = Field(
        None, description="what they make of images that are not real; null: they were not asked"
    )
    seconds: float = Field(description="wall time")


class SweepRow(Report):
    """Metrics at one scale; margins are half-widths of 95 % intervals."""

    scale: float = Field(description="of the guide")
    frechet: float = Field(description="Frechet distance from real images of the classes")
    frechet_margin: float = Field(description="its margin, by resampling the generated images")
    precision: float = Field(
        description="share of generated images within the manifold of real ones"
    )
    precision_margin: float = Field(description="its margin")
    recall: float = Field(description="share of real images within the manifold of generated ones")
    recall_margin: float = Field(description="its margin")
    share: float = Field(description="share of images in which the judge sees the requested class")
    share_margin: float = Field(description="its margin")


class GuideSweepReport(Report):
    """Result of `guide sweep`."""

    classes: list[str] = Field(description="requested classes, in turn")
    count: int = Field(description="images of each scale")
    rows: list[SweepRow] = Field(description="figures of each scale, rising")
    real: SweepRow = Field(description="the same of as many further real images")
    overflow: str | None = Field(description="from which scale on values overflow, if they do")
    shape: str = Field(description="the course of the figures in words, beside the paper's")
    curves: str = Field(description="PNG of the curves")
    model: str = Field(description="name of the model")
    guide_model: str = Field(description="name of the guide")
    seconds: float = Field(description="wall time")


class ImageReport(Report):
    """A generated image."""

    path: str = Field(description="PNG file; its metadata hold the request")
    number: int = Field(description="its number within the request, from 0")
    seed: int = Field(description="seed of its own noise, made of --seed and its number")
    kept: dict[str, float] = Field(
        default_factory=dict, description="what it keeps of each control, by its kind"
    )
    chance: dict[str, float] = Field(
        default_factory=dict,
        description="the same with shuffled conditions (moved sideways, mirrored): kept by chance",
    )


class ControlReport(Report):
    """Fidelity of the images to one control."""

    kind: str = Field(description="of the condition")
    image: str = Field("", description="image or map that it follows")
    weight: float = Field(description="of its branch")
    blocks: str = Field("", description="weights of single connections: soft, or W1,W2,...")
    measure: str = Field(description="of the fidelity, with its unit")
    value: float | None = Field(description="mean over the images; null: not measured")
    chance: float | None = Field(
        None, description="the same with shuffled conditions: what is kept by chance"
    )
    alone: float | None = Field(
        None, description="of the first images, up to four, generated without control"
    )
    reused: float | None = Field(
        None, description="with --reuse: the same of the first images, up to four"
    )
    anew: float | None = Field(
        None, description="with --reuse: of these generated without it, to say what reuse costs"
    )


class GuideReport(Report):
    """Effect of one guide."""

    name: str = Field(description="what it guides to")
    scale: float = Field(description="weight of its gradient")
    clean: bool = Field(description="whether it looked at the clean image that a step expects")
    first: float | None = Field(
        description="at its first step: log p of a class or a cosine, mean of the images"
    )
    last: float | None = Field(description="the same at its last step")
    shift: float | None = Field(
        description="how far it moved the expected image: root mean square, mean of the steps"
    )
    lost: str | None = Field(
        None, description="what was stronger than it and what to change; null: it did not lose"
    )


class GradientConflict(Report):
    """Two guides with conflicting gradients."""

    first: str = Field(description="a guide")
    second: str = Field(description="another one")
    cosine: float = Field(description="between their gradients, mean of steps and images")


class StartReport(Report):
    """Changes to the image that sampling started from."""

    image: str = Field(description="the image")
    mask: str | None = Field(description="white where it was repainted; null: no mask")
    strength: float = Field(description="share of the steps")
    steps: int = Field(description="steps that were taken")
    of_steps: int = Field(description="steps from pure noise to the image")
    repainted: float = Field(description="share of the pixels that were generated")
    changed: float = Field(description="their mean change in levels of 255")
    outside: int | None = Field(
        description="the largest change of the other pixels; null: there are none"
    )


class GridCell(Report):
    """One cell of a grid of images."""

    values: dict[str, str] = Field(description="of the options that were varied")
    pictures: list[str] = Field(description="its images")
    kept: dict[str, float] = Field(description="what they keep of each control, their mean")
    chance: dict[str, float] = Field(description="the same with shuffled conditions")


class Generation(Report):
    """Result of `generate`."""

    prompt: str = Field(description="the prompt")
    read_as: str = Field(
        default="", description="the caption that the model was given for it; empty: the prompt"
    )
    cut: str = Field(description="end of the prompt that the model does not read")
    pictures: list[ImageReport] = Field(description="the images, in their order")
    sheet: str | None = Field(description="all of them side by side, where there are several")
    model: str = Field(description="name of the model")
    fingerprint: str = Field(description="hash of the model's weights and configuration")
    sampler: str = Field(description="name of the sampler")
    steps: int = Field(description="steps that it took")
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    steps_per_second: float = Field(description="steps of single images per second of sampling")
    seconds: float = Field(description="wall time, the model's loading included")
    guides: list[GuideReport] = Field(default_factory=list, description="what each guide did")
    fights: list[GradientConflict] = Field(
        default_factory=list, description="guides whose gradients point against each other"
    )
    verdicts: list[ImageVerdict] = Field(
        default_factory=list, description="what realism checks say of guided images, in their order"
    )
    grid: list[GridCell] = Field(
        default_factory=list, description="of a grid, each cell, row by row"
    )
    self_test: SelfTest | None = Field(
        None, description="what realism checks make of images that are not real; null: not asked"
    )
    start: StartReport | None = Field(
        default=None, description="what became of the image that sampling started at"
    )
    notes: list[str] = Field(default=[], description="warnings, and choices that were made")
    converted: dict[str, int] = Field(
        default_factory=dict,
        description="what reading changed of the images that controls name, such as transparency "
        "shown on white, and of how many",
    )
    controls: list[ControlReport] = Field(
        default_factory=list, description="what the images keep of each control"
    )

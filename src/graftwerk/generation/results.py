"""Reports of guiding: what witnesses say of pictures, inversions, sweeps.

Reports of drawing pictures.
"""

from typing import Literal

from pydantic import Field

from ..results import Report

Verdict = Literal["real", "not the class", "adversarial", "strange"]


class CheckReport(Report):
    """What one witness says of a picture."""

    name: str = Field(description="guide, judge, residual, spectrum or neighbours")
    reading: float = Field(
        description="guide: probability of the class; judge: 1 where it sees it; of the others the "
        "distance from real pictures, where 1 is what 95 % of them keep"
    )
    agrees: bool = Field(description="whether it takes the picture for a real one of the class")


class ImageVerdict(Report):
    """Several witnesses on one picture."""

    path: str = Field(description="the picture")
    verdict: Verdict = Field(
        description="real: like real pictures, and the judge sees the class; not the class: like "
        "real pictures without it; adversarial: the guide sees the class in what is not like real "
        "pictures; strange: neither like real pictures nor of the class"
    )
    strangeness: float = Field(
        description="residual, spectrum and neighbours together: root mean square of their "
        "readings, where 1 is what 95 % of real pictures keep"
    )
    witnesses: list[CheckReport] = Field(description="each one's reading")


class GuideVerdicts(Report):
    """What `guide check` found."""

    label: str | None = Field(description="the class that was asked for")
    pictures: list[ImageVerdict] = Field(description="the pictures, in their order")
    limit: float = Field(description="strangeness above which a picture is not like real ones")
    real: int = Field(description="real pictures that the witnesses learned from")
    seconds: float = Field(description="wall time")


class Inversion(Report):
    """What `invert` found."""

    to: str = Field(description="where it was moved to")
    space: str = Field(description="what was moved")
    pictures: list[str] = Field(description="PNG files of what came of it")
    film: str = Field(description="the first picture on its way, from left to right")
    losses_file: str = Field(description="JSON file of every step's loss")
    losses: list[float] = Field(
        description="before each step and at the end, mean of the pictures: -log p of a class, "
        "1 - cosine of a sentence, mean squared error of a picture; none for DDIM inversion"
    )
    psnr_db: float | None = Field(
        description="of the picture that comes back from its noise, for DDIM inversion"
    )
    psnr_db_of_decoder: float | None = Field(
        description="of the picture that comes back from the autoencoder alone"
    )
    verdicts: list[ImageVerdict] = Field(description="what the witnesses say of each picture")
    seconds: float = Field(description="wall time")


class SweepRow(Report):
    """Figures of one scale; margins are half-widths of 95 % intervals."""

    scale: float = Field(description="of the guide")
    frechet: float = Field(description="Frechet distance from real pictures of the classes")
    frechet_margin: float = Field(description="its margin, by resampling the drawn pictures")
    precision: float = Field(description="share of drawn pictures within the manifold of real ones")
    precision_margin: float = Field(description="its margin")
    recall: float = Field(description="share of real pictures within the manifold of drawn ones")
    recall_margin: float = Field(description="its margin")
    share: float = Field(description="share of pictures in which the judge sees the wanted class")
    share_margin: float = Field(description="its margin")


class GuideSweepReport(Report):
    """What `guide sweep` measured."""

    classes: list[str] = Field(description="wanted classes, in turn")
    count: int = Field(description="pictures of each scale")
    rows: list[SweepRow] = Field(description="figures of each scale, rising")
    real: SweepRow = Field(description="the same of as many further real pictures")
    overflow: str | None = Field(description="from which scale on values overflow, if they do")
    shape: str = Field(description="the course of the figures in words, beside the paper's")
    curves: str = Field(description="PNG of the curves")
    model: str = Field(description="name of the model")
    guide_model: str = Field(description="name of the guide")
    seconds: float = Field(description="wall time")


class ImageReport(Report):
    """One picture that was drawn."""

    path: str = Field(description="PNG file; its metadata hold the request")
    number: int = Field(description="its number within the request, from 0")
    seed: int = Field(description="seed of its own noise, made of --seed and its number")
    kept: dict[str, float] = Field(
        default_factory=dict, description="what it keeps of each control, by its kind"
    )


class ControlReport(Report):
    """What the pictures keep of one control."""

    kind: str = Field(description="of the condition")
    weight: float = Field(description="of its branch")
    measure: str = Field(description="of the fidelity, with its unit")
    value: float | None = Field(description="mean over the pictures; null: not measured")
    reused: float | None = Field(
        None, description="with --reuse: the same of the first pictures, up to four"
    )
    anew: float | None = Field(
        None, description="with --reuse: of these drawn without it, to say what reuse costs"
    )


class GuideReport(Report):
    """What one guide did."""

    name: str = Field(description="what it pulls to")
    scale: float = Field(description="weight of its gradient")
    clean: bool = Field(description="whether it looked at the clean picture that a step expects")
    first: float | None = Field(
        description="at its first step: log p of a class or a cosine, mean of the pictures"
    )
    last: float | None = Field(description="the same at its last step")
    shift: float | None = Field(
        description="how far it moved the expected picture: root mean square, mean of the steps"
    )


class GradientConflict(Report):
    """Two guides that pull against each other."""

    first: str = Field(description="a guide")
    second: str = Field(description="another one")
    cosine: float = Field(description="between their gradients, mean of steps and pictures")


class Generation(Report):
    """What `generate` drew."""

    prompt: str = Field(description="the prompt")
    cut: str = Field(description="end of the prompt that the model does not read")
    pictures: list[ImageReport] = Field(description="the pictures, in their order")
    sheet: str | None = Field(description="all of them side by side, where there are several")
    model: str = Field(description="name of the model")
    fingerprint: str = Field(description="hash of the model's weights and configuration")
    sampler: str = Field(description="name of the sampler")
    steps: int = Field(description="steps that it took")
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    steps_per_second: float = Field(description="steps of single pictures per second of drawing")
    seconds: float = Field(description="wall time, the model's loading included")
    guides: list[GuideReport] = Field(default_factory=list, description="what each guide did")
    fights: list[GradientConflict] = Field(
        default_factory=list, description="guides whose gradients point against each other"
    )
    verdicts: list[ImageVerdict] = Field(
        default_factory=list, description="what witnesses say of guided pictures, in their order"
    )
    converted: dict[str, int] = Field(
        default_factory=dict,
        description="what reading changed of the images that controls name, such as transparency "
        "shown on white, and of how many",
    )
    controls: list[ControlReport] = Field(
        default_factory=list, description="what the pictures keep of each control"
    )

"""Reports of drawing pictures."""

from pydantic import Field

from .base import Report
from .guiding import PictureVerdict


class PictureReport(Report):
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


class FightReport(Report):
    """Two guides that pull against each other."""

    first: str = Field(description="a guide")
    second: str = Field(description="another one")
    cosine: float = Field(description="between their gradients, mean of steps and pictures")


class Generation(Report):
    """What `generate` drew."""

    prompt: str = Field(description="the prompt")
    cut: str = Field(description="end of the prompt that the model does not read")
    pictures: list[PictureReport] = Field(description="the pictures, in their order")
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
    fights: list[FightReport] = Field(
        default_factory=list, description="guides whose gradients point against each other"
    )
    verdicts: list[PictureVerdict] = Field(
        default_factory=list, description="what witnesses say of guided pictures, in their order"
    )
    controls: list[ControlReport] = Field(
        default_factory=list, description="what the pictures keep of each control"
    )

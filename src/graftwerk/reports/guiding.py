"""Reports of guiding: what witnesses say of pictures, inversions, sweeps."""

from typing import Literal

from pydantic import Field

from .base import Report

Verdict = Literal["real", "not the class", "adversarial", "strange"]


class Witness(Report):
    """What one witness says of a picture."""

    name: str = Field(description="guide, judge, residual, spectrum or neighbours")
    reading: float = Field(
        description="guide: probability of the class; judge: 1 where it sees it; of the others the "
        "distance from real pictures, where 1 is what 95 % of them keep"
    )
    agrees: bool = Field(description="whether it takes the picture for a real one of the class")


class PictureVerdict(Report):
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
    witnesses: list[Witness] = Field(description="each one's reading")


class GuideVerdicts(Report):
    """What `guide check` found."""

    label: str | None = Field(description="the class that was asked for")
    pictures: list[PictureVerdict] = Field(description="the pictures, in their order")
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
    verdicts: list[PictureVerdict] = Field(description="what the witnesses say of each picture")
    seconds: float = Field(description="wall time")

"""Reports of linear probes."""

from pydantic import Field

from ..results import Report


class Share(Report):
    """R2 on test images with its 95 % interval."""

    r2: float = Field(description="1 is exact, 0 is as good as always saying the mean")
    low: float = Field(description="lower end of the 95 % interval")
    high: float = Field(description="upper end of the 95 % interval")


class Read(Report):
    """One number that was read out."""

    name: str = Field(description="what is read")
    model: Share = Field(description="from the model's values")
    shuffled: Share = Field(description="from the same values, with labels of other images")
    random: Share = Field(description="from the values of a network with random weights")


class Shift(Report):
    """How much a measured number changed."""

    value: float = Field(
        description="standard deviations of it for one standard deviation asked for, mean"
    )
    low: float = Field(description="lower end of the 95 % interval")
    high: float = Field(description="upper end of the 95 % interval")
    count: int = Field(description="images in which it could be measured at every step")


class Moved(Report):
    """What happened along the direction of one number."""

    name: str = Field(description="what was asked to move")
    shifts: dict[str, Shift] = Field(description="what moved, by measured number")
    picture: str = Field(description="images in rows, from -2 to 2 standard deviations")


class ReadoutResult(Report):
    """What a model's values tell linearly, and what they do."""

    model: str = Field(description="the frozen model")
    fingerprint: str = Field(description="of the model")
    at: str = Field(description="latent, middle or encoder")
    sigma: float | None = Field(description="noise level; none for clean latents")
    dimension: int = Field(description="values of an image")
    train: int = Field(description="images learned from")
    test: int = Field(description="images measured on")
    left_out: int = Field(description="images of other scenes than those asked for")
    read: list[Read] = Field(description="each number that was read out")
    measure: str = Field(description="how images along a direction were measured")
    agreement: dict[str, float] = Field(
        description="R2 between that measure and the truth on untouched test images"
    )
    moved: list[Moved] = Field(description="the causal check, for what can be measured")
    seconds: float = Field(description="time taken")

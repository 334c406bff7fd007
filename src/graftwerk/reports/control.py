"""Reports of training control branches."""

from pydantic import Field

from .adapt import LeftOut
from .base import Report


class ControlTrained(Report):
    """What `control train` came to."""

    out: str = Field(description="folder of the training")
    branch: str = Field(description="folder of the branch, for `generate --branch`")
    controlnet: bool = Field(description="whether diffusers loads it as a ControlNetModel")
    condition: str = Field(description="what it follows")
    model: str = Field(description="the frozen model")
    pairs: int = Field(description="that it learned from")
    held_out: int = Field(description="that the meter measures on")
    left_out: list[LeftOut] = Field(description="files that could not be read, and why")
    steps: int = Field(description="steps done, over all runs")
    planned: int = Field(description="steps in all")
    finished: bool = Field(description="whether it is done; if not, run it again to go on")
    verdict: str = Field(description="not yet, converging, converged, diverged or not learning")
    converged_at: int | None = Field(description="step of the sudden change")
    reason: str = Field(description="of the verdict")
    gap: float = Field(description="loss with another pair's condition minus with the true one")
    gap_low: float = Field(description="lower end of its 99 % interval")
    gap_high: float = Field(description="upper end")
    loss: float = Field(description="held-out, with the meter's noise")
    frozen_loss: float = Field(description="the same of the model alone")
    norm: float = Field(description="of the weights that join it to the model")
    change: float = Field(description="size of what it adds over what it is added to")
    fidelity: float | None = Field(description="of the last grid of pictures, 0 to 1")
    parameters: int = Field(description="that were learned")
    bytes: int = Field(description="of the branch's folder")
    items_per_second: float = Field(description="pairs a second in this run")
    seconds: float = Field(description="on steps, over all runs")
    plot: str = Field(description="loss, gap, norms and fidelity over the steps")
    strips: str | None = Field(description="pictures from the same noise over the steps")

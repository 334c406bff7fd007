"""Reports of ControlNet training."""

from typing import ClassVar

from pydantic import Field

from ..results import LeftOut, Report


class ControlTrained(Report):
    """What `control train` came to."""

    out: str = Field(description="folder of the training")
    branch: str = Field(description="folder of the branch, for `generate --branch`")
    controlnet: bool = Field(description="whether diffusers loads it as its ControlNet class")
    condition: str = Field(description="what it follows")
    model: str = Field(description="the frozen model")
    unlocked: str | None = Field(
        description="folder of the new model, where the decoder was trained too: the base is then "
        "not frozen, and the branch belongs to the new model"
    )
    pairs: int = Field(description="that it learned from")
    held_out: int = Field(description="that the meter measures on")
    left_out: list[LeftOut] = Field(description="files that could not be read, and why")
    steps: int = Field(description="steps done, over all runs")
    planned: int = Field(description="steps in all")
    finished: bool = Field(description="whether it is done; if not, run it again to go on")
    verdict: str = Field(description="not yet, converging, converged, diverged or not learning")
    converged_at: int | None = Field(description="step of the sudden change")
    reason: str = Field(description="of the verdict")
    forecast: str = Field(
        description="step of convergence as the first fifth of the steps predicted it, and how well"
    )
    forecast_at: int | None = Field(description="step that it predicted")
    gap: float = Field(description="loss with another pair's condition minus with the true one")
    gap_low: float = Field(description="lower end of its 99 % interval")
    gap_high: float = Field(description="upper end")
    loss: float = Field(description="held-out, with the meter's noise")
    frozen_loss: float = Field(description="the same of the model alone")
    norm: float = Field(description="of the weights that join it to the model")
    change: float = Field(description="size of what it adds over what it is added to")
    fidelity: float | None = Field(description="of the last grid of images, 0 to 1")
    fidelity_chance: float | None = Field(
        None, description="the same with the conditions of other images: what is kept by chance"
    )
    parameters: int = Field(description="that were learned")
    bytes: int = Field(description="of the branch's folder")
    items_per_second: float = Field(description="pairs a second in this run")
    seconds: float = Field(description="on steps, over all runs")
    plot: str = Field(description="loss, gap, norms and fidelity over the steps")
    strips: str | None = Field(description="images from the same noise over the steps")


class AblationRow(Report):
    """Figures of one branch under one prompt: means over the seeds.

    Margins are half-widths of 95 % intervals over the seeds (Student's t); none with one seed.
    """

    branch: str = Field(description="zero, gaussian, light, or alone: the model without one")
    prompt: str = Field(description="none, insufficient, conflicting or perfect")
    fidelity: float = Field(description="what the images keep of the condition, 0 to 1")
    fidelity_margin: float | None = Field(description="its margin")
    judge: float | None = Field(
        description="share of images with exactly the objects of the condition's own scene"
    )
    judge_margin: float | None = Field(description="its margin")
    obeyed: float | None = Field(
        description="share with exactly the objects of a conflicting prompt"
    )
    obeyed_margin: float | None = Field(description="its margin")
    frechet: float = Field(description="Frechet distance from the held-out images")
    frechet_margin: float | None = Field(description="its margin")

    HEADER: ClassVar[tuple[str, ...]] = (
        "branch", "prompt", "fidelity", "judge", "conflicting prompt obeyed", "Frechet",
    )  # fmt: skip

    def cells(self) -> list[str]:
        """The row as text, in the order of `HEADER`."""
        cells = [self.branch, self.prompt]
        for value, margin, digits in (
            (self.fidelity, self.fidelity_margin, 3),
            (self.judge, self.judge_margin, 3),
            (self.obeyed, self.obeyed_margin, 3),
            (self.frechet, self.frechet_margin, 1),
        ):
            text = "" if value is None else f"{value:.{digits}f}"
            plain = value is None or margin is None
            cells.append(text if plain else f"{text} ±{margin:.{digits}f}")
        return cells


class AblationTraining(Report):
    """One of the trainings."""

    branch: str = Field(description="zero, gaussian or light")
    seed: int = Field(description="of first weights, order and noise")
    verdict: str = Field(description="the meter's last word")
    converged_at: int | None = Field(description="step of the sudden change")
    gap: float = Field(description="loss with another pair's condition minus with the true one")
    parameters: int = Field(description="that were learned")
    seconds: float = Field(description="on steps")


class Ablation(Report):
    """What `control ablation` measured."""

    condition: str = Field(description="what the branches follow")
    model: str = Field(description="the frozen model")
    rows: list[AblationRow] = Field(description="figures of each branch under each prompt")
    trainings: list[AblationTraining] = Field(description="of each branch and seed")
    findings: list[str] = Field(description="zero beside the others, in words")
    fidelity_of_real: float = Field(description="of the held-out images themselves: the bound")
    fidelity_by_chance: float | None = Field(
        None, description="of the held-out images with each other's conditions: the floor"
    )
    features: str = Field(description="whose features the Frechet distance is in")
    pairs: int = Field(description="that each branch learned from")
    count: int = Field(description="images of each branch, prompt and seed")
    steps: int = Field(description="of each training")
    seeds: int = Field(description="trainings of each branch")
    table: str = Field(description="file of the table, in Markdown")
    sheet: str = Field(description="images of the first seed side by side")
    seconds: float = Field(description="wall time of this run")


class ControlExported(Report):
    """What `control export` wrote."""

    out: str = Field(description="folder of the ControlNetModel")
    branch: str = Field(description="what was exported")
    model: str = Field(description="that it was made on")
    pipeline: str = Field(description="folder of that model, for other tools")
    parameters: int = Field(description="of the whole ControlNetModel")
    bytes: int = Field(description="of the folder")

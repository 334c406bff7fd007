"""Reports of the Blocks world and its recipes."""

from typing import Any

from pydantic import Field

from ..results import Report


class BlocksData(Report):
    """What `blocks render` wrote."""

    folder: str = Field(description="the data set folder, in Hugging Face's ImageFolder form")
    scenes: int = Field(description="scenes rendered")
    size: int = Field(description="side of the images in pixels")
    seed: int = Field(description="seed of their world")
    bytes: int = Field(description="size of all files")
    per_second: float = Field(description="scenes a second")
    seconds: float = Field(description="wall time")


class BlocksSheet(Report):
    """What `blocks show` drew."""

    caption: str = Field(description="the scene in words, objects from left to right")
    out: str = Field(description="the image of the scene and its maps")
    scene: dict[str, Any] = Field(description="camera, sun, ground, time and objects")
    milliseconds: float = Field(description="time to render the image alone, after compilation")


class RecipeList(Report):
    """The recipes."""

    recipes: list[dict[str, Any]] = Field(
        description="name, what it makes, in which layout, what it needs, what it aims at"
    )


class RecipeResult(Report):
    """What `recipe run` came to."""

    recipe: str = Field(description="name of the recipe")
    model: str = Field(description="folder of the model, with its card")
    steps: int = Field(description="steps done, over all runs")
    planned: int = Field(description="steps in all")
    finished: bool = Field(description="whether these are all; if not, run it again to go on")
    loss: float = Field(description="mean loss over the last stretch")
    skipped: int = Field(description="steps left out because their gradients were not finite")
    items_per_second: float = Field(description="items trained on per second in this run")
    figures: dict[str, float] = Field(description="measured on held-out scenes")
    seconds: float = Field(description="time spent on steps, over all runs")


class RecipeEvaluation(Report):
    """What `recipe eval` measured."""

    recipe: str = Field(description="name of the recipe")
    model: str = Field(description="folder of the model")
    count: int = Field(description="held-out scenes")
    figures: dict[str, float] = Field(description="what was measured")
    aims: dict[str, float] = Field(description="what the recipe aims at, by figure")
    reached: dict[str, bool] = Field(description="whether it does, by figure")
    seconds: float = Field(description="wall time")

"""Reports of robot policies."""

from pydantic import Field

from ..results import Report


class EpisodesWritten(Report):
    """What `blocks episodes` wrote."""

    folder: str = Field(description="the data set, in LeRobot's layout, version 3.0")
    task: str = Field(description="the instruction")
    camera: str = Field(description="the camera's name")
    episodes: int = Field(description="episodes of the expert")
    frames: int = Field(description="frames in all")
    fps: int = Field(description="frames a second")
    bytes: int = Field(description="size of all files")
    seconds: float = Field(description="wall time")


class EpisodeShown(Report):
    """What `blocks replay` drew."""

    data: str = Field(description="the data set")
    out: str = Field(description="the image: all frames of an episode, or a film of them (.gif)")
    task: str = Field(description="the instruction; empty if there is none")
    episode: int = Field(description="number of the episode")
    frames: int = Field(description="frames of the episode")
    episodes: int = Field(description="episodes in the data set")


class Success(Report):
    """Success of one policy in simulation."""

    name: str = Field(description="the policy, or what it is compared with")
    success: float = Field(description="share of episodes that end at the goal")
    low: float = Field(description="lower end of the 95 % interval")
    high: float = Field(description="upper end of the 95 % interval")
    distance: float = Field(description="median distance from the goal at the end, scene units")


class PolicyEvaluation(Report):
    """Result of `eval policy`."""

    policy: str = Field(description="the policy")
    task: str = Field(description="the instruction")
    camera: str = Field(description="the camera's name")
    episodes: int = Field(description="starts, the same for all rows")
    tolerance: float = Field(description="distance from the goal that counts, in scene units")
    frames: int = Field(description="frames after which it is judged")
    rows: list[Success] = Field(description="the policy, its base, chance and the expert")
    out: str | None = Field(description="film of the first episodes")
    seconds: float = Field(description="wall time")


class PolicyFit(Report):
    """Result of `fit` on episodes of a robot."""

    out: str = Field(description="folder that was written")
    how: str = Field(description="linear, lora or full")
    model: str = Field(description="the frozen policy")
    task: str = Field(description="the instruction in the data")
    episodes: int = Field(description="episodes learned from")
    held_out: int = Field(description="episodes held out, which choose how much is applied")
    frames: int = Field(description="frames learned from")
    error_before: float = Field(description="mean distance of held-out actions, frozen policy")
    error_after: float = Field(description="the same, adapted")
    error_of_mean: float = Field(description="the same, of always taking the mean action")
    share: float = Field(description="of the learned change that is applied")
    parameters: int = Field(description="numbers that were learned")
    bytes: int = Field(description="size of the folder")
    seconds: float = Field(description="wall time")

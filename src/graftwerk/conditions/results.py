"""Reports of conditions."""

from pydantic import Field

from ..results import Report


class ConditionKind(Report):
    """One kind of condition."""

    name: str = Field(description="the word on the command line")
    about: str = Field(description="what it shows")
    read_by: str = Field(description="what makes it of an image, with nothing downloaded")
    estimators: str = Field(description="transformers models that can make it instead")
    measure: str = Field(description="how its fidelity is measured")
    higher_is_better: bool = Field(description="direction of the measure")


class ConditionKinds(Report):
    """The kinds of condition."""

    kinds: list[ConditionKind] = Field(description="in their order")


class ConditionResult(Report):
    """A condition that was made."""

    kind: str = Field(description="its kind")
    made_by: str = Field(description="what made it")
    out: str = Field(description="PNG file")
    width: int = Field(description="pixels of the condition")
    height: int = Field(description="pixels of the condition")
    drawn: float = Field(description="share of pixels that are not black")
    thresholds: list[float] | None = Field(
        description="of canny: low and high in the unit of slopes (0 to 1442)"
    )
    unfamiliar: bool | None = Field(
        description="whether the image is unlike what the built-in model learned from; null "
        "where none was used"
    )
    converted: list[str] = Field(
        default_factory=list,
        description="what reading changed of the image, such as transparency shown on white",
    )
    seconds: float = Field(description="wall time")


class EdgeEvaluation(Report):
    """What `eval edges` measured."""

    pictures: int = Field(description="pictures")
    people: int = Field(description="boundary maps of people")
    method: str = Field(description="how edges were found")
    ods: float = Field(description="F at the best threshold for all images")
    ois: float = Field(description="F at each image's own best threshold")
    ap: float = Field(description="average precision")
    threshold: float = Field(description="the threshold of ODS, of 1")
    precision: float = Field(description="at that threshold")
    recall: float = Field(description="at that threshold")
    tolerance: float = Field(description="distance of paired pixels, of the diagonal")
    seconds: float = Field(description="wall time")

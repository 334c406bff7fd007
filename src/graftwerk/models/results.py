"""Reports of zero-shot classification and of models."""

from typing import Any

from pydantic import Field

from ..results import Familiarity, OODCount, Report, Skipped


class LabelProbability(Report):
    """Probability of a label for an image."""

    label: str = Field(description="the label")
    probability: float = Field(description="chance of it, given that one of the labels holds")
    cosine: float | None = Field(
        description="cosine between image and label, -1 to 1; null for a classifier's own classes"
    )


class ClassifiedImage(Report):
    """An image and its labels."""

    path: str = Field(description="the image")
    label: str = Field(description="its most probable label")
    probability: float = Field(description="chance of that label")
    labels: list[LabelProbability] = Field(description="the k most probable labels, best first")
    familiarity: Familiarity | None = Field(
        description="whether it is like what the encoder was trained on; null where it does not say"
    )


class TemperatureFit(Report):
    """A temperature fitted to calibrate probabilities."""

    temperature: float = Field(description="what the logits are divided by; above 1: less sure")
    source: str = Field(description="the labeled images")
    pictures: int = Field(description="images that it was fitted on")
    left_out: int = Field(description="images without a label of the list, with several, or bad")
    labels: int = Field(description="labels that it was fitted with")
    labels_hash: str = Field(description="hash of those labels")
    templates: list[str] = Field(description="templates that it was fitted with")
    encoder: str = Field(description="name of the encoder it holds for")
    fingerprint: str = Field(description="hash of the encoder it holds for")
    accuracy: float = Field(description="share of the images whose first label is right")
    ece_before: float = Field(
        description="expected calibration error at the model's own scale: mean difference of "
        "confidence and share of right answers, 15 bins, 0 to 1"
    )
    ece_after: float = Field(
        description="the same after the fit, each image at a temperature fitted without it"
    )
    nll_before: float = Field(description="mean -log of the right label's probability, in nats")
    nll_after: float = Field(description="the same after the fit, as for ece_after")


class Classification(Report):
    """Result of `classify`."""

    pictures: list[ClassifiedImage] = Field(description="the images, in their order")
    skipped: list[Skipped] = Field(description="images left out, with reasons")
    unfamiliar: OODCount
    labels: int = Field(description="labels to choose from")
    templates: list[str] = Field(
        description="prompts that each label was put into; none for a classifier's own classes"
    )
    encoder: str = Field(description="name of the encoder")
    fingerprint: str = Field(description="hash of the encoder's weights and configuration")
    logit_scale: float = Field(description="the model's own factor from cosines to logits")
    temperature: float = Field(description="what the logits are divided by; 1: nothing is fitted")
    calibration: str = Field(description="where the temperature comes from and what it is worth")
    fit: TemperatureFit | None = Field(description="what --calibrate found")
    seconds: float = Field(description="wall time, the model's loading included")


class ModelCard(Report):
    """Description of a model."""

    name: str = Field(description="its name")
    kind: str = Field(description="what it does")
    reads: list[str] = Field(description="text, image, or both")
    dimension: int | None = Field(description="length of a vector")
    parameters: int | None = Field(description="number of weights; null if not counted")
    bytes: int = Field(description="size of the weight files")
    fingerprint: str = Field(description="hash of weights and configuration")
    path: str = Field(description="folder")
    details: dict[str, Any] = Field(description="pooling, longest input, license and the like")


class FetchableModel(Report):
    """A model available in packages of the package index."""

    name: str = Field(description="its name, for --model and the like once it is fetched")
    kind: str = Field(description="what it does")
    about: str = Field(description="one line about it")
    fetched: bool = Field(description="whether it is on this machine")
    packages: str = Field(description="packages that it is made of, with versions")
    bytes: int = Field(description="how much is fetched")
    licence: str = Field(description="licenses, as the packages state them")


class ModelList(Report):
    """The built-in models and those that can be fetched."""

    models: list[dict[str, str]] = Field(description="name, kind and a line about each")
    fetchable: list[FetchableModel] = Field(description="models that `graft models fetch` gets")


class FetchedModel(Report):
    """A model that was fetched, or was already cached."""

    name: str = Field(description="its name from now on")
    path: str = Field(description="its folder, in the layout of the transformers library")
    kind: str = Field(description="what it does")
    option: str = Field(description="options that take its name")
    licence: str = Field(description="licenses, as the packages state them")
    packages: str = Field(description="packages that it is made of, with versions")
    changed: str = Field(description="what was changed when it was converted")
    fetched_now: bool = Field(description="false where it was there already")
    bytes: int = Field(description="size of its weight files")
    seconds: float = Field(description="wall time")

"""A frozen diffusion model with its adapters: LoRAs, control branches and guides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from ..adapters.lora import KIND as LORA
from ..adapters.lora import make_low_rank
from ..adapters.lora_files import lora_fingerprint, read_lora
from ..adapters.lora_location import lora_file
from ..adapters.manifest import RECORD, read_bundle, require_base
from ..adapters.peft_format import Adapter, join, settle
from ..conditions.base import Read
from ..conditions.estimators import load_estimator
from ..controlnet.inputs import LoadedBranch, LoadedControl, load_branch
from ..controlnet.spec import ControlInput
from ..diffusion.checkpoint import PipelineFolder
from ..diffusion.guidance import Contrast, GradientGuide, GuidanceTrace, Term
from ..diffusion.pipeline import DiffusionModel, Precision, load_diffusion, quiet
from ..errors import BadInput, WrongBase
from ..requests.generate import Generate
from .guides import GuideModels, GuideNetworks, Settings
from .spec import Guide, LoraSpec


@dataclass(frozen=True, slots=True, eq=False)
class LoadedLora:
    """A LoRA that fits a model."""

    adapters: Mapping[str, Adapter]
    scale: float
    fingerprint: str


@dataclass(frozen=True, slots=True, eq=False)
class LoadedGuide:
    """A guide with its models loaded.

    Attributes:
        label: the class that it guides to; None for another target.
        models: the models that it evaluates; None for a user-provided function.
        aim: the guide as requested; None for a user-provided function.
    """

    term: Term
    fingerprint: str
    label: str | None = None
    models: GuideModels | None = None
    notes: tuple[str, ...] = ()
    aim: Guide | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LoadedWeaker:
    """A weaker model of the same latent space, for autoguidance.

    Attributes:
        scale: weight of what the better model predicts otherwise.
    """

    model: DiffusionModel
    scale: float

    def contrast(self, request: Generate) -> Contrast:
        """Return it as a denoiser with the prompt and guidance scale, if it reads them."""
        texts, reader = None, self.model.reader
        if reader is not None:
            texts = replace(reader.read([request.prompt.strip()]), scale=request.cfg)
        return Contrast(self.model.denoiser(texts), self.scale)


class Loader:
    """Loads adapters of one frozen model, each file once."""

    def __init__(self, model: DiffusionModel) -> None:
        self.model = model
        self._branches: dict[Path, LoadedBranch] = {}
        self._networks = GuideNetworks(model.device)
        self._readers: dict[tuple[str, str], Read] = {}

    def lora(self, spec: LoraSpec) -> LoadedLora:
        """Load a LoRA and check that it fits.

        Raises:
            WrongBase: it belongs to another model; both are named.
            BadInput: it is not a LoRA, or does not fit.
            Damaged: one of its files is damaged.
        """
        folder, model = spec.folder, self.model
        if lora_file(folder) is None and (folder / RECORD).is_file():
            require_base(read_bundle(folder, LORA), model.name, *model.bases)
        fingerprint = lora_fingerprint(folder)
        adapters = read_lora(folder, model.networks, model.name)
        return LoadedLora(adapters, spec.scale, fingerprint)

    def weaker(self, name: str, scale: float, folder: PipelineFolder) -> LoadedWeaker:
        """Load a weaker model and check that it generates the same latents.

        Raises:
            WrongBase: it generates other latents; both are named.
            BadInput: the folder cannot be used.
        """
        base = self.model
        precision = str(base.dtype).removeprefix("torch.")
        found = load_diffusion(name, base.device, folder, cast(Precision, precision))
        if found.noise.flows != base.noise.flows:
            raise BadInput(
                f"one of {name} and {base.name} was trained by flow matching, the other was not.",
                "Name a weaker model of the same kind.",
            )
        spaces = [(one.space.identity, one.channels, one.factor) for one in (found, base)]
        if spaces[0] != spaces[1]:
            raise WrongBase(
                f"the weaker model {name}",
                made_on=f"the latent space {spaces[0][0][:12]} of {found.channels} channels",
                received=f"that of model {base.name!r} ({spaces[1][0][:12]}, {base.channels})",
                hint="Name a smaller or less trained model with the same autoencoder.",
            )
        return LoadedWeaker(found, scale)

    def branch(self, folder: Path) -> LoadedBranch:
        """Load a branch; see `controlnet.inputs.load_branch`."""
        if folder not in self._branches:
            self._branches[folder] = load_branch(folder, self.model)
        return self._branches[folder]

    def reader(self, control: ControlInput) -> Read | None:
        """Return the model that reads a control's condition; None for the built-in one.

        Raises:
            BadInput: no model reads this kind of condition, or this model reads another kind.
            BadFile: the model cannot be read.
        """
        if control.estimator is None:
            return None
        key = (control.kind, control.estimator)
        if key not in self._readers:
            self._readers[key] = load_estimator(*key, self.model.device)
        return self._readers[key]

    def guide(self, guide: Guide, settings: Settings) -> LoadedGuide:
        """Load the models of a guide.

        Raises:
            UnknownName: a class that the classifier does not have.
            WrongBase: the classifier reads another latent space.
            BadFile: an image cannot be read.
        """
        models = GuideModels(settings, self.model, self._networks)
        log_prob, clean, fingerprint = models.log_prob(guide)
        term = models.term(guide.name, log_prob, guide.scale, clean)
        label = guide.what if guide.aim == "class" else None
        notes = () if guide.image is None else guide.image.notes
        return LoadedGuide(term, fingerprint, label, models, notes, guide)


@dataclass(frozen=True)
class SteeredModel:
    """A frozen model and its adapters, which do not change it."""

    frozen: DiffusionModel
    loras: tuple[LoadedLora, ...] = ()
    controls: tuple[LoadedControl, ...] = ()
    guides: tuple[LoadedGuide, ...] = ()
    weaker: tuple[LoadedWeaker, ...] = ()

    @cached_property
    def model(self) -> DiffusionModel:
        """The model with LoRAs in its networks; the frozen model if no LoRA is active."""
        acting = [lora for lora in self.loras if lora.scale != 0]
        steered = {}
        for part, network in self.frozen.networks.items():
            found = [
                (settle(lora.adapters[part], network, lora.scale), 1.0)
                for lora in acting
                if part in lora.adapters
            ]
            if found:
                steer = make_low_rank(network, join(found), self.frozen.fingerprint)
                with quiet():
                    steered[part] = steer.apply(network).to(self.frozen.dtype)
        return self.frozen.with_networks(steered) if steered else self.frozen

    def guide(self, watch: Callable[[GuidanceTrace], None] | None = None) -> GradientGuide | None:
        """Return all guides as one adapter of a denoiser; None without any."""
        terms = tuple(guide.term for guide in self.guides)
        return GradientGuide(terms, watch) if terms else None

    def contrasts(self, request: Generate, in_regions: bool) -> tuple[Contrast, ...]:
        """Return the weaker models as denoisers; refuse the frozen one if nothing changes it."""
        better = in_regions or self.controls or any(lora.scale for lora in self.loras)
        for one in self.weaker:
            if one.scale and not better and one.model.fingerprint == self.frozen.fingerprint:
                raise BadInput(
                    f"the weaker model {one.model.name} of --autoguide is the one that generates.",
                    "Name a smaller or less trained model of the same latents.",
                )
        return tuple(one.contrast(request) for one in self.weaker)

    def without(self, part: object) -> "SteeredModel":
        """Return the model without one of its adapters."""
        kinds = ("loras", "controls", "guides", "weaker")
        left: dict[str, Any] = {
            kind: tuple(one for one in getattr(self, kind) if one is not part) for kind in kinds
        }
        return replace(self, **left)

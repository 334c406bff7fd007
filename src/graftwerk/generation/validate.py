"""Parse and validate a request for images, as far as possible without PyTorch."""

from ..adapters.lora_location import lora_file
from ..blocks.captions import object_phrases
from ..controlnet import spec as controlling
from ..diffusion import checkpoint
from ..errors import BadInput, UnknownName
from ..models.checkpoint import class_number, noise_aware_labels, own_classes
from ..models.hub import loading, locate, require_reachable
from ..requests.generate import Generate, parse_interval
from . import spec as parsed


def validate(request: Generate, *, from_record: bool = False) -> parsed.GenerationSpec:
    """Parse a request, decode its images, and refuse what is not possible.

    Args:
        request: the request for images.
        from_record: whether the models are named by an image's record; these are not downloaded.

    Raises:
        UnknownName: an unknown sampler, model, class, or kind of guide or control.
        BadInput: an entry, interval, size or combination that is not possible.
        BadFile: a named file cannot be read.
    """
    guides = [parsed.parse_guide(entry) for entry in request.guide]
    if from_record:
        _require_reachable(request, guides)
    loras = tuple(parsed.parse_lora(entry) for entry in request.lora)
    for lora in loras:
        lora_file(lora.folder)  # refuses what is none
    named = [parsed.parse_region(entry) for entry in request.region]
    masks = [(prompt, controlling.read_mask(path)) for prompt, path in named]
    init = None if request.init is None else controlling.read_named(request.init)
    mask = None if request.inpaint is None else controlling.read_mask(request.inpaint)
    grid = parsed.parse_grid(request.grid).cells(request) if request.grid else []
    for _, cell in grid:
        parsed.options_of(cell, init, mask)
    regions = tuple(_region(prompt, one) for prompt, one in masks)
    options = parsed.options_of(request, init, mask, regions)
    guide_interval = parse_interval(request.guide_interval)
    guides = [_read_guide(guide, request) for guide in guides]
    specs = [controlling.parse_control(entry) for entry in request.control]
    estimators = controlling.estimators_named(request, specs)
    for name in estimators.values():
        locate(name, "estimator")
    controls = tuple(controlling.read_control(spec, estimators.get(spec.kind)) for spec in specs)
    require_measure(request, [control.is_measured for control in controls])
    for control in controls:
        if control.finished:
            from ..controlnet.inputs import require_map  # imports PyTorch, but loads no network

            require_map(control)
    with loading(request.model):
        folder = checkpoint.open_pipeline(checkpoint.locate_pipeline(request.model))
        _check_size(request, folder)
        parsed.settled(request, request.model, folder.layout.flows)
    if not folder.layout.prompted and (request.prompt or request.negative or request.region):
        raise BadInput(f"model {request.model!r} takes no prompt.", "Leave the prompt out.")
    branches = controlling.branch_folders(request, {spec.kind for spec in specs})
    return parsed.GenerationSpec(
        options=options,
        folder=folder,
        loras=loras,
        controls=controls,
        branches=branches,
        guides=tuple(guides),
        guide_interval=guide_interval,
        weaker=tuple(map(_open_weaker, request.autoguide)),
    )


def require_measure(request: Generate, measured: list[bool]) -> None:
    """Require a measured control for `best_of` to select images by.

    Raises:
        BadInput: `best_of` is set and no control is measured.
    """
    if request.best_of > 1 and not any(measured):
        raise BadInput(
            "--best-of keeps the most faithful image, and there is no control to be faithful to.",
            "Give a --control without a mask.",
        )


def require_class(label: str, classifier: str, labels: list[str]) -> None:
    """Require that a classifier has a class, judging by its configuration alone.

    Raises:
        UnknownName: it does not have the class.
        BadInput: labels are given for a model that has classes of its own.
        BadFile: its configuration cannot be read.
    """
    folder = locate(classifier)
    with loading(classifier):
        classes = own_classes(folder)
    if classes:
        if labels:
            raise BadInput(f"{classifier!r} has classes of its own.", "Leave --guide-labels out.")
        class_number(classes, label)
        return
    known = noise_aware_labels(folder) or labels or list(object_phrases())
    if label not in known:
        raise UnknownName("class", label, known)


def _require_reachable(request: Generate, guides: list[parsed.Guide]) -> None:
    """Refuse models named by a record that would have to be downloaded."""
    aims = {guide.aim for guide in guides}
    require_reachable(request.model, "--model")
    if "class" in aims:
        require_reachable(request.guide_model, "--guide-model")
    if aims & {"text", "image"}:
        require_reachable(request.guide_encoder, "--guide-encoder")
    for entry in request.autoguide:
        require_reachable(str(parsed.parse_lora(entry).folder), "--autoguide")
    for entry in request.estimator:
        require_reachable(entry.partition("=")[2], "--estimator")


def _read_guide(guide: parsed.Guide, request: Generate) -> parsed.Guide:
    if guide.aim == "class":
        require_class(guide.what, request.guide_model, request.guide_labels)
    return parsed.read_guide(guide)


def _region(prompt: str, mask: controlling.NamedImage) -> parsed.Region:
    from ..controlnet.inputs import mask_of  # imports PyTorch, but loads no network

    mask_of([mask], mask.image.size, "cpu")  # refuses one that is black
    return parsed.Region(prompt, mask)


def _open_weaker(entry: str) -> tuple[parsed.LoraSpec, checkpoint.PipelineFolder]:
    spec = parsed.parse_lora(entry, "--autoguide")
    with loading(str(spec.folder)):
        return spec, checkpoint.open_pipeline(checkpoint.locate_pipeline(str(spec.folder)))


def _check_size(request: Generate, folder: checkpoint.PipelineFolder) -> None:
    """Check that the model can generate images of the requested size."""
    sizes = checkpoint.read_sizes(folder)
    if sizes is None:  # checked once the networks are loaded
        return
    size = (request.width or sizes.own[0], request.height or sizes.own[1])
    checkpoint.require_multiples(request.model, sizes.multiple, *size)

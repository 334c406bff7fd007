"""What can be refused of a request for pictures before a network, or PyTorch, is loaded."""

from ..blocks.captions import object_phrases
from ..controlnet.spec import Asked, branch_folders, parse_control
from ..data.images import read_image
from ..diffusion.checkpoint import PipelineFolder, open_pipeline, read_sizes, require_multiples
from ..diffusion.options import parse_interval, require_sampler
from ..errors import BadInput, UnknownName
from ..models.checkpoint import noise_aware_labels
from ..models.hub import locate
from ..requests.generate import Generate
from .guide_spec import parse_guide


def check(request: Generate) -> None:
    """Refuse what is not possible.

    Raises:
        UnknownName: a sampler, model, class, or kind of guide or control that is not there.
        BadInput: an entry, interval, size or combination that is not possible.
        BadFile: a file that is named cannot be read.
    """
    require_sampler(request.sampler, request.eta)
    parse_interval(request.cfg_interval)
    parse_interval(request.guide_interval)
    _check_guides(request)
    asked = [parse_control(entry) for entry in request.control]
    if request.best_of > 1 and all(one.masks for one in asked):
        raise BadInput(
            "--best-of keeps the most faithful picture, and there is no control to be faithful to.",
            "Give a --control without a mask.",
        )
    for one in asked:
        for path in (one.file, *one.masks):
            read_image(str(path))
    folder = open_pipeline(locate(request.model))
    if not folder.layout.encoders and (request.prompt or request.negative):
        raise BadInput(f"model {request.model!r} takes no prompt.", "Leave the prompt out.")
    branch_folders(request)
    _check_size(request, folder, asked)


def require_class(label: str, classifier: str, labels: list[str]) -> None:
    """See that a classifier has a class, by its configuration alone.

    Args:
        label: the class.
        classifier: its name: a noise-aware classifier, or a joint encoder.
        labels: classes of a joint encoder; none: kinds and colours of Blocks objects.

    Raises:
        UnknownName: it does not.
        BadFile: its configuration cannot be read.
    """
    known = noise_aware_labels(locate(classifier)) or labels or list(object_phrases())
    if label not in known:
        raise UnknownName("class", label, known)


def _check_guides(request: Generate) -> None:
    guides = [parse_guide(entry) for entry in request.guide]
    for guide in guides:
        if guide.aim == "image":
            read_image(guide.what)
        if guide.aim == "class":
            require_class(guide.what, request.guide_model, request.guide_labels)


def _check_size(request: Generate, folder: PipelineFolder, asked: list[Asked]) -> None:
    """See that the model draws that size, and that finished maps are maps of it."""
    sizes = read_sizes(folder)
    if sizes is None:  # told when the networks are there
        return
    size = (request.width or sizes.own[0], request.height or sizes.own[1])
    require_multiples(request.model, sizes.multiple, *size)
    maps = [one for one in asked if one.finished]
    if maps:
        from ..controlnet.inputs import map_of  # imports PyTorch, and loads no network for a map

        for one in maps:
            map_of(one.kind, one.file, one.finished, size)

"""`graft control export`: a branch as a whole `ControlNetModel`, for other tools."""

from pathlib import Path

from .. import folders
from ..contracts import Monitor
from ..errors import BadInput
from ..reports import ControlExported
from ..requests import DEFAULT_PIPELINE, ControlExport


def run(request: ControlExport, monitor: Monitor) -> ControlExported:
    """Put the learned parts and those that stay as the U-Net has them into one folder.

    Raises:
        BadFile: a `ControlNetModel` cannot hold the branch: it is light, or joined to the middle
            alone, or of a U-Net without prompts.
        BadInput: there is no such branch, or the out folder is not free.
        WrongBase: it was made on another model.
        NoRoom: the out folder cannot be written.
    """
    from ..frozen.diffusion.model import load_diffusion
    from ..frozen.locate import locate
    from ..steer.branch_folder import KIND, read_branch, write_controlnet
    from ..steer.bundle import is_replaceable, write_bundle

    def is_branch(folder: Path) -> bool:
        return is_replaceable(folder, KIND)

    out = request.out.absolute()
    folders.require_replaceable(out, "control branch", verify=is_branch)
    source = _folder(request)
    folders.require_outside((source, request.model), out)
    monitor.start("loading the model")
    model = load_diffusion(request.model, "cpu")
    branch = read_branch(source, model.unet, model.factor, model.name, model.fingerprint)
    with folders.working_folder(out, is_branch) as folder:
        write_controlnet(folder, branch, model.unet)
        content = {"exported from": request.branch}
        write_bundle(folder, KIND, model.name, model.fingerprint, content)
    return ControlExported(
        out=str(request.out),
        branch=request.branch,
        model=request.model,
        pipeline=str(locate(request.model)),
        parameters=sum(weight.numel() for weight in branch.parameters()),
        bytes=sum(path.stat().st_size for path in out.iterdir()),
    )


def _folder(request: ControlExport) -> Path:
    """A folder as it is named, or a built-in branch by its name or its condition alone."""
    from ..frozen.builtin import BUILTIN, builtin_folder

    if Path(request.branch).exists():
        return Path(request.branch)
    for name in (request.branch, f"{DEFAULT_PIPELINE}-{request.branch}"):
        if name in BUILTIN:
            return builtin_folder(name)
    raise BadInput(
        f"{request.branch!r} is neither a folder nor a built-in branch.",
        "Name a folder that `graft control train` wrote, or for example canny "
        f"({DEFAULT_PIPELINE}-canny).",
    )

"""`graft blocks render`: scenes of the Blocks world into a data set folder."""

import time
from pathlib import Path

from .. import folders, reports, requests
from ..blocks.dataset import write_dataset
from ..contracts import Monitor
from ..errors import BadFile, Cancelled


def run(request: requests.BlocksRender, monitor: Monitor) -> reports.BlocksData:
    """Render into a temporary folder that takes its name when it is whole.

    Raises:
        BadFile: the out folder holds something, or is no folder.
        NoRoom: the disk is full or cannot be written; nothing is left behind.
        Cancelled: stopped by the user; nothing is left behind.
    """
    began = time.perf_counter()
    target = request.out.absolute()
    _require_empty(target)
    monitor.start("rendering", request.count)
    try:
        with folders.working_folder(target) as folder:
            written = write_dataset(
                folder, request.seed, request.count, request.size, request.objects
            )
            for finished in written:
                monitor.advance(finished)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except Cancelled as error:
        raise Cancelled(error.message, f"{target} was not written.") from error
    seconds = time.perf_counter() - began
    return reports.BlocksData(
        folder=str(request.out),
        scenes=request.count,
        size=request.size,
        seed=request.seed,
        bytes=size,
        per_second=request.count / seconds,
        seconds=seconds,
    )


def _require_empty(target: Path) -> None:
    hint = "Name a new folder with --out."
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise BadFile(f"{target} is not a folder.", hint)
    if target.is_dir() and (target == Path.cwd() or any(target.iterdir())):
        raise BadFile(f"folder {target} is not empty or is in use.", hint)

"""`graft blocks show`: one scene with all its maps on a sheet."""

import time
from pathlib import Path

from .. import files, reports, requests
from ..blocks.captions import caption_of
from ..blocks.drawing import sheet_of
from ..blocks.renderer import render
from ..blocks.sampling import sample_scene
from ..blocks.scene import scene_to_data
from ..contracts import Monitor
from ..errors import BadFile


def run(request: requests.BlocksShow, monitor: Monitor) -> reports.BlocksSheet:
    """Draw the sheet and write it.

    Raises:
        BadFile: the file to write is no PNG or a folder.
        NoRoom: the disk is full or cannot be written.
    """
    if request.out.suffix.lower() != ".png" or request.out.is_dir():
        raise BadFile(f"{request.out} cannot be a PNG file.", "Name a file that ends in .png.")
    monitor.start("drawing")
    scene = sample_scene(request.seed, request.scene)
    sheet = sheet_of(scene, request.size)
    began = time.perf_counter()
    render(scene, request.size, request.size)
    milliseconds = 1000 * (time.perf_counter() - began)

    def write(path: Path) -> None:
        sheet.save(path, format="PNG")

    files.write_atomically(request.out.absolute(), write)
    return reports.BlocksSheet(
        caption=caption_of(scene),
        out=str(request.out),
        scene=scene_to_data(scene),
        milliseconds=milliseconds,
    )

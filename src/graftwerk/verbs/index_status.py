"""`graft index status`: what an index holds."""

from ..contracts import Monitor
from ..errors import BadInput
from ..reports import IndexState
from ..requests import IndexStatus
from ..search.index import Index, open_index
from ..search.schema import FORMAT_VERSION
from ..steer.calibration import find_calibration
from .opening import load_own_encoder


def run(request: IndexStatus, monitor: Monitor) -> IndexState:  # noqa: ARG001  done at once
    """Tell what an index holds and with which encoder it was made.

    Raises:
        BadFile: there is no index.
        Damaged: its database cannot be read.
    """
    with open_index(request.index) as index, index.view() as view:
        return IndexState(
            index=str(request.index.resolve()),
            files=view.count_files(),
            passages=view.count_passages(),
            pictures=view.count_pictures(),
            encoder=index.encoder_name,
            fingerprint=index.fingerprint,
            dimension=index.dimension,
            format_version=FORMAT_VERSION,
            bytes=sum(path.stat().st_size for path in request.index.iterdir() if path.is_file()),
            sealed=index.sealed,
            calibrated=_describe_calibration(index, request.device),
        )


def _describe_calibration(index: Index, device: str) -> str:
    try:
        encoder = load_own_encoder(index, device)
    except BadInput as error:
        return f"unknown: {error.message}"
    _, line = find_calibration(index.folder, encoder)
    return line

"""`graft eval edges`: Canny's edges against boundaries that people drew."""

import time

from ..conditions.edge_strength import edge_strength, plain_strength
from ..contracts import Monitor
from ..measure.edges import TOLERANCE, count_pairs, quality_of
from ..reports import EdgeEvaluation
from ..requests import EvalEdges
from .boundaries import BoundaryData


def run(request: EvalEdges, monitor: Monitor) -> EdgeEvaluation:
    """Find the edges of each picture at every threshold and pair them with each person's.

    Raises:
        BadInput: no picture with boundaries, or boundaries of another size or kind.
        BadFile: a file cannot be read.
        Cancelled: stopped by the monitor.
    """
    begin = time.perf_counter()
    data = BoundaryData(request.data)
    find = plain_strength if request.plain else edge_strength
    monitor.start("pairing edges with boundaries", len(data))
    counts, people = [], 0
    for picture, drawn in data:
        counts.append(count_pairs(find(picture), list(drawn)))
        people += len(drawn)
        monitor.advance()
    quality = quality_of(counts)
    return EdgeEvaluation(
        pictures=len(data),
        people=people,
        method="grey at one scale" if request.plain else "colour at two scales",
        ods=quality.ods,
        ois=quality.ois,
        ap=quality.ap,
        threshold=quality.threshold,
        precision=quality.precision,
        recall=quality.recall,
        tolerance=TOLERANCE,
        seconds=time.perf_counter() - begin,
    )

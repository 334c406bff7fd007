"""`graft readout`: what a model's values tell linearly of its pictures, and what they do."""

from ..library.probing import carry_out
from ..probing.results import ReadoutResult
from ..requests.probe import Readout
from ..types import Monitor


def run_readout(request: Readout, monitor: Monitor) -> ReadoutResult:
    """Read out, with two controls, then move along what can be measured.

    Raises as `library.probing.carry_out` does.
    """
    return carry_out(request, monitor).report

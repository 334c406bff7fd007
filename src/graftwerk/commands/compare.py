"""`graft compare`: linear, LoRA and full fine-tuning side by side, and a recommendation."""

from ..finetune.results import FitComparison
from ..library.comparing import carry_out
from ..requests.finetune import Compare
from ..types import Monitor


def run_compare(request: Compare, monitor: Monitor) -> FitComparison:
    """Fit in every way, measure each on the same test examples, draw and recommend.

    Raises as `library.comparing.carry_out` does.
    """
    return carry_out(request, monitor).report

"""`graft condition list`: the kinds of condition."""

from ..conditions import CONDITIONS
from ..conditions.estimators import ESTIMATED
from ..contracts import Monitor
from ..reports import ConditionKind, ConditionKinds
from ..requests import ConditionList


def run(request: ConditionList, monitor: Monitor) -> ConditionKinds:  # noqa: ARG001
    """Read the table of conditions."""
    kinds = [
        ConditionKind(
            name=name,
            about=condition.about,
            read_by=condition.read_by,
            estimators=ESTIMATED.get(name, ""),
            measure=condition.measure,
            higher_is_better=condition.higher_is_better,
        )
        for name, condition in CONDITIONS.items()
    ]
    return ConditionKinds(kinds=kinds)

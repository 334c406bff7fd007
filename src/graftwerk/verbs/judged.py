"""Classes as a judge sees them: a kind, a colour, both, a ground or a time."""

from ..frozen.judge import Judge, Judgement


def judge_knows(judge: Judge, label: str) -> bool:
    """Whether a judge can tell of a class."""
    config = judge.network.config
    names = {*config["kinds"], *config["colours"], *config["grounds"], *config["times"]}
    pairs = {f"{colour} {kind}" for colour in config["colours"] for kind in config["kinds"]}
    return label in names | pairs


def shows(judgement: Judgement, label: str) -> bool:
    """Whether a picture that was judged so shows a class."""
    if label in {judgement.ground, judgement.time}:
        return True
    return any(
        label in {seen.kind, seen.colour, f"{seen.colour} {seen.kind}"}
        for seen in judgement.objects
    )

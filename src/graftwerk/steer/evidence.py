"""How strongly the passages found speak for an answer being in them: a number from 0 to 1.

Two things are looked at: the cosine of the nearest sentence, and the share of the question's
content words, weighted by rarity, that one passage holds. A logistic function joins them (the
cosine of the nearest passage added nothing to these two). Its coefficients were fitted by
`bench/fit_evidence.py` on public questions (XQuAD, English) with the built-in encoder: each
question once with its paragraph in the index and once without, other paragraphs of the same
article still there.
"""

import math
from collections.abc import Sequence

from ..contracts import Encoder, Hit
from ..frozen.sentences import split_sentences
from ..frozen.words import content_stems, covered, rarity

EVIDENCE_HITS = 10  # hits to search for, whatever number of them is offered to the writer
_READ_PASSAGES = 3  # whose sentences are compared by meaning; more gave nothing
_READ_SENTENCES = 12  # of those, the ones that share most words with the question
Features = tuple[float, float]
COEFFICIENTS: Features = (11.8, 7.82)
INTERCEPT = -10.48


def measure_evidence(question: str, hits: Sequence[Hit], encoder: Encoder) -> float:
    """Strength of the evidence in `hits`, 0 without any.

    Args:
        question: the question.
        hits: text passages, best first; the first `EVIDENCE_HITS` are looked at.
        encoder: the full encoder (for a static index, its rescorer).
    """
    if not hits:
        return 0.0
    features = find_features(question, hits, encoder)
    logit = INTERCEPT + sum(
        weight * value for weight, value in zip(COEFFICIENTS, features, strict=True)
    )
    return 1.0 / (1.0 + math.exp(-logit))


def find_features(question: str, hits: Sequence[Hit], encoder: Encoder) -> Features:
    """Cosine of the nearest sentence, and share of the question's words in one passage."""
    seen = hits[:EVIDENCE_HITS]
    wanted = content_stems(question)
    stems = [content_stems(f"{hit.passage.heading} {hit.passage.text}") for hit in seen]
    weights = rarity(stems)
    share = max(covered(wanted, found, weights) for found in stems)

    sentences = [
        hit.passage.text[start:end]
        for hit in seen[:_READ_PASSAGES]
        for start, end in split_sentences(hit.passage.text)
    ]
    sentences.sort(key=lambda text: -covered(wanted, content_stems(text), weights))
    vector = encoder.encode_texts([question], role="query")[0]
    read = sentences[:_READ_SENTENCES] or [seen[0].passage.text]
    return float((encoder.encode_texts(read) @ vector).max()), share

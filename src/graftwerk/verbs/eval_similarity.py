"""`graft eval similarity`: correlation of an encoder's cosines with human judgements."""

import time

import numpy as np

from ..contracts import Monitor
from ..frozen.encoders import load_encoder
from ..measure.similarity import correlations, read_pairs
from ..reports import SimilarityEvaluation
from ..requests import EvalSimilarity


def run(request: EvalSimilarity, monitor: Monitor) -> SimilarityEvaluation:
    """Embed both texts of each pair and compare the order of cosines with that of the scores.

    Raises:
        BadInput: a malformed file, or an encoder that cannot be had.
    """
    begin = time.perf_counter()
    pairs = read_pairs(request.file)
    encoder = load_encoder(request.encoder, layer=request.layer, device=request.device)
    texts = [pair.first for pair in pairs] + [pair.second for pair in pairs]
    monitor.start("embedding", len(texts))
    vectors = encoder.encode_texts(texts, advance=monitor.advance)
    cosines = (vectors[: len(pairs)] * vectors[len(pairs) :]).sum(axis=1)
    spearman, pearson = correlations(cosines, np.array([pair.score for pair in pairs]))
    return SimilarityEvaluation(
        encoder=encoder.name,
        pairs=len(pairs),
        spearman=spearman,
        pearson=pearson,
        seconds=time.perf_counter() - begin,
    )

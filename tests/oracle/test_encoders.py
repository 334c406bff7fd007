"""Our encoders beside the sentence-transformers library with the same weights."""

from pathlib import Path

import numpy as np
import pytest

import graftwerk
from graftwerk.commands import evaluate
from graftwerk.models.encoders import encoder_fingerprint, load_encoder, load_reference
from graftwerk.models.hub import locate
from graftwerk.models.text_encoder import read_recipe
from graftwerk.types import Silent

# Beside the checkout, where the measurements look for public data too.
STSB = Path(__file__).parents[3] / "shared" / "data" / "stsb" / "en-dev.csv"
PAIRS = [
    ("A man plays a guitar.", "A man is playing the guitar.", 5.0),
    ("A dog runs in the snow.", "A dog is running outside.", 3.8),
    ("Two boys play football.", "Two girls play chess.", 1.4),
    ("The market fell by 3 %.", "Shares closed lower today.", 3.0),
    ("A woman slices an onion.", "The tax office is closed.", 0.0),
]


@pytest.fixture(scope="module")
def peer():
    library = pytest.importorskip("sentence_transformers")
    return library.SentenceTransformer(str(locate("builtin/minilm")), device="cpu")


def by_pytorch(folder):
    recipe = read_recipe(folder)
    return load_reference("x", recipe, encoder_fingerprint(folder, recipe, None), None, "cpu")


def test_vectors(peer):
    texts = [text for first, second, _ in PAIRS for text in (first, second)]
    texts += ["", "word " * 400, "Größe, naïve, 東京 🙂"]
    expected = peer.encode(texts)
    np.testing.assert_allclose(
        load_encoder("builtin/minilm").encode_texts(texts), expected, atol=1e-5
    )
    reference = by_pytorch(locate("builtin/minilm"))
    np.testing.assert_allclose(reference.encode_texts(texts), expected, atol=1e-6)


def spearman_of_peer(peer, pairs):
    from scipy.stats import spearmanr

    firsts, seconds = peer.encode([p[0] for p in pairs]), peer.encode([p[1] for p in pairs])
    return spearmanr((firsts * seconds).sum(axis=1), [p[2] for p in pairs]).statistic


def test_similarity_of_literal_pairs(peer, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(f"{first},{second},{score}" for first, second, score in PAIRS))
    found = evaluate.run_eval_similarity(graftwerk.EvalSimilarity(file=path), Silent()).spearman
    assert found == pytest.approx(spearman_of_peer(peer, PAIRS), abs=1e-3)


@pytest.mark.slow
def test_similarity_of_a_public_set(peer):
    if not STSB.is_file():
        pytest.skip("the public data are not there")
    from graftwerk.data.benchmarks import read_pairs

    pairs = [(pair.first, pair.second, pair.score) for pair in read_pairs(STSB).rows]
    found = evaluate.run_eval_similarity(graftwerk.EvalSimilarity(file=STSB), Silent()).spearman
    assert found == pytest.approx(spearman_of_peer(peer, pairs), abs=1e-3)
    assert found > 0.86


POOLINGS = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


@pytest.mark.parametrize("pooling", ["lasttoken", POOLINGS], ids=["one", "all"])
def test_a_folder_that_the_library_wrote(peer, tmp_path, pooling):
    """Its own modules, saved by itself, with another pooling and a dense layer."""
    import torch
    from sentence_transformers import SentenceTransformer, models

    width = 384 * (1 if isinstance(pooling, str) else len(pooling))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        dense = models.Dense(width, 12)
    steps = [peer[0], models.Pooling(384, pooling_mode=pooling), models.Normalize(), dense]
    library = SentenceTransformer(
        modules=steps, device="cpu", prompts={"query": "Question: ", "document": ""}
    )
    library.save(str(tmp_path / "model"))
    ours = by_pytorch(tmp_path / "model")
    texts = ["A man plays a guitar.", "", "word " * 400, "tax"]
    for role, encode in (("query", library.encode_query), ("document", library.encode_document)):
        expected = encode(texts)
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(ours.encode_texts(texts, role), expected, atol=1e-5)

"""The arithmetic of a training."""

import pytest
import torch
from tests.train_toys import run_toy, weights_of
from torch.nn import functional

from graftwerk.training.state import arithmetic, fast_precision


def test_precision_of_products():
    a = torch.full((2, 2), 1.0 + 2**-12)
    for precision, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with arithmetic("cpu", precision):
            assert (a @ a).dtype == kind
    assert (a @ a).dtype == torch.float32


def test_attention_is_the_same_and_plain():
    queries, keys, values = torch.randn(3, 2, 4, 8, 16, generator=torch.Generator().manual_seed(0))
    fused = functional.scaled_dot_product_attention(queries, keys, values)
    with arithmetic("cpu", "float32"):
        assert not torch.backends.cuda.flash_sdp_enabled()
        plain = functional.scaled_dot_product_attention(queries, keys, values)
    torch.testing.assert_close(plain, fused)


@pytest.mark.parametrize(
    ("able", "requested"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"avx2": True}, "float32"),
    ],
)
def test_fast_precision_of_a_cpu(monkeypatch, able, requested):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert fast_precision("cpu") == requested


def test_a_training_in_bfloat16_comes_near_and_resumes_to_the_bit(tmp_path):
    whole = run_toy(tmp_path / "whole", precision="bfloat16")
    full = run_toy(tmp_path / "full")
    assert whole.loss == pytest.approx(full.loss, rel=0.05)
    assert weights_of(whole) != weights_of(full)
    run_toy(tmp_path / "parts", precision="bfloat16", minutes=1e-9)
    again = run_toy(tmp_path / "parts", precision="bfloat16")
    assert weights_of(again) == weights_of(whole)


def test_another_precision_is_said(tmp_path):
    from graftwerk.types import Silent

    notes = []

    class Notes(Silent):
        def note(self, text):
            notes.append(text)

    run_toy(tmp_path, minutes=1e-9)
    run_toy(tmp_path, precision="bfloat16", monitor=Notes())
    assert "begun in float32, now in bfloat16" in notes

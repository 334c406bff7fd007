"""Which noise levels are visited, and where sampling starts and ends."""

import itertools

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.pipelines import noise_of

from graftwerk.diffusion.noise_schedule import final, initial, karras, noise_levels, own_times
from graftwerk.diffusion.samplers import draw
from graftwerk.errors import BadInput


def test_karras_by_hand() -> None:
    highest, middle, lowest, end = karras(0.1, 10.0, 3)
    assert (highest, lowest, end) == (pytest.approx(10.0), pytest.approx(0.1), 0.0)
    assert middle == pytest.approx(((10 ** (1 / 7) + 0.1 ** (1 / 7)) / 2) ** 7)


def test_one_step() -> None:
    assert karras(0.1, 10.0, 1) == [pytest.approx(10.0), 0.0]
    assert len(noise_levels(noise_of(), 1, "model")) == 2


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("leading", [751, 501, 251, 1]),
        ("trailing", [999, 749, 499, 249]),
        ("linspace", [999, 666, 333, 0]),
    ],
)
def test_spacings(spacing, expected) -> None:
    assert own_times(noise_of(timestep_spacing=spacing), 4) == expected


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 1000),
    spacing=st.sampled_from(["leading", "trailing", "linspace"]),
    offset=st.integers(0, 3),
    name=st.sampled_from(["DDIMScheduler", "UniPCMultistepScheduler"]),
)
@example(steps=1000, spacing="leading", offset=1, name="DDIMScheduler")
def test_levels_always_fall(steps, spacing, offset, name) -> None:
    noise = noise_of(_class_name=name, timestep_spacing=spacing, steps_offset=offset)
    if steps + noise.one_more > 1000:
        with pytest.raises(BadInput, match=f"{steps} steps"):
            own_times(noise, steps)
        return
    times = own_times(noise, steps)
    assert len(times) == steps
    assert all(0 <= after < before < 1000 for before, after in itertools.pairwise(times))
    levels = noise_levels(noise, steps, "model")
    assert levels[:-1] == [noise.sigmas[time] for time in times]


def test_the_own_schedule_ends_where_the_configuration_says() -> None:
    assert noise_levels(noise_of(set_alpha_to_one=True), 5, "model")[-1] == 0
    smallest = noise_of().sigmas[0]
    assert noise_levels(noise_of(set_alpha_to_one=False), 5, "model")[-1] == smallest
    assert noise_levels(noise_of(set_alpha_to_one=False), 5, "karras")[-1] == 0


def test_too_many_steps_of_the_own_schedule() -> None:
    with pytest.raises(BadInput, match=r"2000 steps .* schedule of 1000.*karras"):
        noise_levels(noise_of(), 2000, "model")
    assert len(noise_levels(noise_of(), 2000, "karras")) == 2001


def test_start_and_end_have_the_scale_of_the_network() -> None:
    noise = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    for sigma in (0.5, 14.6):
        scaled = initial(noise, sigma)
        assert torch.allclose(scaled / (1 + sigma**2) ** 0.5, noise)
        assert torch.allclose(final(scaled, sigma), noise)
    assert final(noise, 0.0) is noise


def test_a_row_has_noise_of_its_own() -> None:
    like = torch.empty(3, 2, 4, 4)
    seeds = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]
    rows = draw(seeds, like)
    alone = draw([torch.Generator().manual_seed(6)], like[:1])
    assert torch.equal(rows[1:2], alone)
    assert not torch.equal(rows[0], rows[1])
    assert draw(torch.Generator().manual_seed(5), like).shape == like.shape
    assert torch.equal(draw(seeds, like), draw(seeds, like)) is False

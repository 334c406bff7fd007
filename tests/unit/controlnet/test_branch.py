"""Control branches on every kind of U-Net, and what happens to them while drawing."""

import pytest
import torch
from tests.pipelines import tiny_unet
from torch import nn

from graftwerk import folders
from graftwerk.controlnet.branch import Shape, make_branch, weights_of
from graftwerk.controlnet.checkpoint import read_branch, write_controlnet, write_own
from graftwerk.controlnet.control import Controls, Term
from graftwerk.diffusion.pipeline import load_diffusion
from graftwerk.diffusion.unet import Joint, run_with, zero_convolutions_of
from graftwerk.errors import BadFile, WrongBase

pytestmark = pytest.mark.usefixtures("one_thread")
STATES = {"encoder_hidden_states": torch.zeros(2, 5, 32)}
TIMES = torch.tensor([5.0, 700.0])


class OwnNetwork(nn.Module):
    """A U-Net of one's own: what the protocol asks for and no more."""

    joints = (Joint(6, 0), Joint(8, 1))

    def __init__(self):
        super().__init__()
        self.encoder = OwnEncoder()
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)
        self.out = nn.Conv2d(6, 2, 1)

    def decode(self, skips, middle, times, inputs):
        return self.out(self.up(middle) + skips[0])


class OwnEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.down = nn.Conv2d(6, 8, 2, 2)

    def forward(self, x, times, hint, inputs):
        hidden = self.first(x)
        if hint is not None:
            hidden = hidden + hint
        return (hidden,), self.down(hidden)


def learned(branch, seed=3):
    """A branch that has learned something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in weights_of(branch).values():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return branch


def born(network, shape):
    return make_branch(network, shape, torch.Generator().manual_seed(1))


def noisy(channels=4, side=8):
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(2))


def hint_of(branch, side=16):
    return branch.read(torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(4)))


SHAPES = [
    Shape(2),
    Shape(2, hint="paper"),
    Shape(2, body="light"),
    Shape(2, middle_only=True),
    Shape(2, learned="convolutions"),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_at_birth_nothing_changes_and_later_something_does(shape):
    unet, x = tiny_unet(), noisy()
    branch = born(unet, shape)
    with torch.inference_mode():
        alone = run_with(unet, x, TIMES, STATES, None)
        assert branch.is_zero_initialized
        residuals = branch(x, TIMES, hint_of(branch), STATES)
        assert torch.equal(run_with(unet, x, TIMES, STATES, residuals), alone)
    branch = learned(branch)
    with torch.inference_mode():
        residuals = branch(x, TIMES, hint_of(branch), STATES)
        assert not torch.equal(run_with(unet, x, TIMES, STATES, residuals), alone)
    changed = [bool(skip.any()) for skip in residuals.skips]
    assert changed == [not shape.middle_only] * len(zero_convolutions_of(unet)[:-1])


def test_gaussian_joints_change_it_at_once():
    unet, x = tiny_unet(), noisy()
    branch = born(unet, Shape(2, start="gaussian"))
    with torch.inference_mode():
        residuals = branch(x, TIMES, hint_of(branch), STATES)
        alone = run_with(unet, x, TIMES, STATES, None)
        assert not torch.equal(run_with(unet, x, TIMES, STATES, residuals), alone)


def test_a_copy_begins_as_the_encoder_it_was_copied_from():
    """With no hint it hands over what the U-Net's own encoder does."""
    unet, x = tiny_unet(), noisy()
    branch = born(unet, Shape(2))
    from graftwerk.diffusion.unet import encode_half

    with torch.inference_mode():
        (skips, middle), _ = encode_half(unet, x, TIMES, None, STATES)
        ours, our_middle = branch.encoder(x, TIMES, hint_of(branch), STATES)
    assert all(torch.equal(a, b) for a, b in zip(skips, ours, strict=True))
    assert torch.equal(middle, our_middle)  # the hint encoder's last layer is zero too


def test_a_network_of_ones_own():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = OwnNetwork()
    x = noisy(channels=2)
    branch = born(network, Shape(1))
    with torch.no_grad():
        alone = network.decode(*network.encoder(x, TIMES, None, {}), TIMES, {})
        residuals = branch(x, TIMES, hint_of(branch, 8), {})
        assert torch.equal(run_with(network, x, TIMES, {}, residuals), alone)
        learned(branch)
        residuals = branch(x, TIMES, hint_of(branch, 8), {})
        assert not torch.equal(run_with(network, x, TIMES, {}, residuals), alone)


def test_an_unconditional_unet_is_steered(pixel_pipeline):
    unet = load_diffusion(str(pixel_pipeline), "cpu").unet
    x, branch = noisy(3), None
    branch = learned(born(unet, Shape(1)))
    with torch.inference_mode():
        residuals = branch(x, TIMES, hint_of(branch, 8), {})
        assert not torch.equal(run_with(unet, x, TIMES, {}, residuals), unet(x, TIMES).sample)


@pytest.mark.parametrize("shape", [Shape(2, body="light"), Shape(2, learned="convolutions")])
def test_our_own_form_comes_back_and_holds_no_frozen_weight(tmp_path, shape):
    unet = tiny_unet()
    branch = learned(born(unet, shape))
    base = {"name": "tiny", "fingerprint": "f" * 64}
    with folders.working_folder(tmp_path / "b") as folder:
        write_own(folder, branch, base, "canny")
    again = read_branch(tmp_path / "b", unet, 2, "tiny", "f" * 64)
    with torch.inference_mode():
        one = branch(noisy(), TIMES, hint_of(branch), STATES)
        two = again(noisy(), TIMES, hint_of(again), STATES)
    pairs = zip((*one.skips, one.middle), (*two.skips, two.middle), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    from safetensors.torch import load_file

    assert set(load_file(tmp_path / "b" / "model.safetensors")) == set(weights_of(branch))
    with pytest.raises(WrongBase, match=r"tiny with fingerprint ffff.*other with fingerprint 0000"):
        read_branch(tmp_path / "b", unet, 2, "other", "0" * 64)


def test_a_control_for_another_width_names_both(tmp_path):
    narrow, wide = tiny_unet(), tiny_unet(block_out_channels=(24, 32))
    with folders.working_folder(tmp_path / "c") as folder:
        write_controlnet(folder, born(narrow, Shape(2, hint_widths=(4, 8))), narrow)
    with pytest.raises(WrongBase, match=r"\[16, 32\].*\[24, 32\]"):
        read_branch(tmp_path / "c", wide, 2, "wide", "")
    with pytest.raises(WrongBase, match=r"2 pixels to a side.*has 8"):
        read_branch(tmp_path / "c", narrow, 8, "narrow", "")


def test_a_light_branch_is_no_controlnet(tmp_path):
    unet = tiny_unet()
    with pytest.raises(BadFile, match="not a ControlNetModel"):
        write_controlnet(tmp_path, born(unet, Shape(2, body="light")), unet)


def test_a_pickled_branch_is_refused_with_the_way_to_convert_it(tmp_path):
    (tmp_path / "control_sd15_canny.pth").write_bytes(b"\x80")
    for path in (tmp_path, tmp_path / "control_sd15_canny.pth"):
        with pytest.raises(BadFile, match="from_single_file"):
            read_branch(path, tiny_unet(), 2, "tiny", "")


def drawing(reuse=1, rows=2, **changes):
    branch = learned(born(tiny_unet(), Shape(2)))
    term = Term(branch, hint_of(branch).detach(), **changes)
    return Controls((term,), reuse=reuse).start(rows)


def test_weight_interval_and_mask():
    x = noisy()
    with torch.inference_mode():
        full = drawing()(x, TIMES, 1.0, STATES)
        half = drawing(weight=0.5)(x, TIMES, 1.0, STATES)
        assert torch.allclose(half.middle, full.middle / 2)
        assert drawing(weight=0.0)(x, TIMES, 1.0, STATES) is None
        assert drawing(lowest=2.0)(x, TIMES, 1.0, STATES) is None
        assert drawing(highest=0.5)(x, TIMES, 1.0, STATES) is None
        mask = torch.zeros(1, 1, 16, 16)
        mask[..., :8] = 1
        masked = drawing(mask=mask)(x, TIMES, 1.0, STATES)
        assert not masked.skips[0][..., 4:].any()
        assert torch.equal(masked.skips[0][..., :4], full.skips[0][..., :4])


def test_reuse_and_a_second_term():
    x = noisy()
    with torch.inference_mode():
        running = drawing(reuse=2)
        first = running(x, TIMES, 3.0, STATES)
        assert running(x + 1, TIMES, 2.0, STATES) is first
        third = running(x + 1, TIMES, 1.0, STATES)
        assert third is not first and not torch.equal(third.middle, first.middle)
        branch = learned(born(tiny_unet(), Shape(2)))
        term = Term(branch, hint_of(branch))
        twice = Controls((term, term)).start(2)(x, TIMES, 1.0, STATES)
        once = Controls((term,)).start(2)(x, TIMES, 1.0, STATES)
        assert torch.allclose(twice.middle, 2 * once.middle)


def test_outer_skips_count_less_where_prompt_or_control_is_more_important():
    x, branch = noisy(), learned(born(tiny_unet(), Shape(2)))
    term = Term(branch, hint_of(branch).detach())
    with torch.inference_mode():
        plain = Controls((term,)).start(2)(x, TIMES, 1.0, STATES)
        same = Controls((term,), decay=1.0).start(2)(x, TIMES, 1.0, STATES)
        less = Controls((term,), decay=0.825).start(2)(x, TIMES, 1.0, STATES)
    assert torch.equal(plain.middle, same.middle) and torch.equal(plain.middle, less.middle)
    for depth, (one, other) in enumerate(zip(plain.skips[::-1], less.skips[::-1], strict=True), 1):
        assert torch.allclose(other, 0.825**depth * one, atol=1e-6)


def test_without_a_prompt_one_half_is_steered_and_small_skips_count_more():
    x = noisy().repeat(2, 1, 1, 1)
    states = {"encoder_hidden_states": torch.zeros(4, 5, 32)}
    branch = learned(born(tiny_unet(), Shape(2)))
    term = Term(branch, hint_of(branch).detach())
    times = TIMES.repeat(2)
    with torch.inference_mode():
        plain = Controls((term,)).start(2)(x, times, 1.0, states)
        guess = Controls((term,), by_size=True, prompted_only=True).start(2)(x, times, 1.0, states)
    assert not guess.middle[2:].any() and not guess.skips[0][2:].any()
    assert torch.allclose(guess.skips[0][:2], plain.skips[0][:2], atol=1e-6)
    assert torch.allclose(guess.middle[:2], 2 * plain.middle[:2], atol=1e-5)  # 8 / 4

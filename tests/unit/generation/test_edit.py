"""Prompt-to-prompt editing: its laws, its attention, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import graftwerk as gw
from graftwerk.commands.generate import run_generate
from graftwerk.controlnet.spec import NamedImage
from graftwerk.diffusion.img2img import StartImage, edit_mask
from graftwerk.diffusion.prompts import join
from graftwerk.errors import BadInput, BadValue
from graftwerk.generation.spec import Start
from graftwerk.generation.start import OpenStart
from graftwerk.types import Silent

pytestmark = pytest.mark.usefixtures("one_thread")
SIDE = 16
PHOTO = Image.fromarray(np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
LEFT = np.zeros((SIDE, SIDE), dtype=np.uint8)
LEFT[:, :8] = 255
GIVEN = {"n": 1, "steps": 8, "seed": 5, "cfg": 3.0, "check": False, "sampler": "ddim"}
SOURCE, TARGET = "a red cube", "a blue cube"


@pytest.fixture(scope="module")
def pipe(text_pipeline):
    return gw.Pipeline(text_pipeline, device="cpu")


def test_the_same_prompt_is_the_image():
    """With a trained model, whose inversion converges."""
    pipe = gw.Pipeline("builtin/blocks", device="cpu")
    [photo] = pipe.generate(SOURCE, **GIVEN).images
    clean = pipe.encode([photo])
    automatic = pipe.generate(SOURCE, init=photo, source=SOURCE, **GIVEN)
    assert automatic.report.start.repainted == 0  # the prompts differ nowhere
    assert automatic.images[0].tobytes() == photo.tobytes()
    white = pipe.generate(SOURCE, init=photo, source=SOURCE, mask=LEFT | 255, **GIVEN)
    assert (white.latents - clean).abs().max() < 0.02 * clean.abs().max()
    edited = pipe.generate(TARGET, init=photo, source=SOURCE, mask=LEFT | 255, **GIVEN)
    assert (edited.latents - clean).abs().max() > 0.2 * clean.abs().max()


def test_outside_of_the_mask_nothing_changes(pipe):
    made = pipe.generate(TARGET, init=PHOTO, source=SOURCE, mask=LEFT, **GIVEN)
    clean = pipe.encode([PHOTO])
    assert made.report.start.outside == 0 and made.report.start.changed > 0
    assert torch.equal(made.latents[..., 4:], clean[..., 4:])
    inside = (made.latents - clean)[..., :4].abs().max()
    free = pipe.generate(TARGET, init=PHOTO, source=SOURCE, mask=LEFT, hold=0.0, **GIVEN)
    assert inside > 0.1 * clean.abs().max() and not torch.equal(free.latents, made.latents)


@pytest.mark.parametrize("words", [False, True])
def test_held_attention_is_the_probabilities_of_the_image(pipe, words):
    """Hertz et al. 2022 put the attention maps of the image into the edit, here literally."""
    model = pipe.steered.frozen

    class Literal:
        def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
            context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            q, k, v = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
            q, k, v = (attn.head_to_batch_dim(part) for part in (q, k, v))
            maps = attn.get_attention_scores(q, k)
            if encoder_hidden_states is None or words:
                maps = maps[: len(maps) // 3].repeat(3, 1, 1)
            return attn.to_out[0](attn.batch_to_head_dim(maps @ v))

    own, asked = model.reader.read([SOURCE]), model.reader.read([TARGET])
    denoiser = model.denoiser(join(join(own, asked), own))
    x = pipe.noise(3, seed=2)
    with torch.inference_mode():
        held, free = denoiser.hold(1, words)(x, 2.0), denoiser(x, 2.0)
        before = model.unet.attn_processors
        try:
            model.unet.set_attn_processor(Literal())
            expected = denoiser(x, 2.0)
        finally:
            model.unet.set_attn_processor(before)
    torch.testing.assert_close(held, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(held[:1], free[:1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(held[1:], free[1:], atol=1e-3)


def test_the_mask_is_where_the_prompts_differ_and_its_neighbours():
    def source(x, sigma):
        return x

    def target(x, sigma):
        found = x.clone()
        found[..., 4, 4] += 1
        return found

    mask = edit_mask(source, target, torch.zeros(1, 2, 8, 8), 1.0, 0)
    expected = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    expected[..., 3:6, 3:6] = True
    assert torch.equal(mask, expected)


def test_pixels_that_an_edit_hardly_changes_are_those_of_the_image():
    """Inside the mask, too, which is as coarse as latents."""
    own = np.full((SIDE, SIDE, 3), 90, dtype=np.uint8)
    coded = own + 20  # what the autoencoder makes of it
    edited = coded.copy()
    edited[4:12, 4:12] = 250
    edited[0, 0] += 5
    start = Start(NamedImage("photo", PHOTO), 1.0, None, True)
    whole = np.ones((SIDE, SIDE), dtype=bool)
    opened = OpenStart(start, StartImage(torch.zeros(1, 4, 8, 8)), own, whole, (), coded)
    found = np.asarray(opened.finish([Image.fromarray(edited)])[0])
    assert (found[5:11, 5:11] == 250).all()  # the object
    outside = np.ones((SIDE, SIDE), dtype=bool)
    outside[2:14, 2:14] = False
    assert (found[outside] == own[outside]).all()
    assert ((found >= 90) & (found <= 250)).all()  # and a soft edge between them
    [kept] = replace(opened, start=replace(start, paste=False)).finish([Image.fromarray(edited)])
    assert (np.asarray(kept) == edited).all()


def test_what_does_not_go_together_is_refused(pipe, text_pipeline):
    for options, message in (
        ({"init": None}, "`init` IMAGE"),
        ({"source": " "}, "what `init` shows"),
        ({"n": 2}, "all images of an edit are the same"),
        ({"sampler": "dpmpp_2m"}, "`sampler` dpmpp_2m"),
        ({"pag": 1.0}, "`pag`"),
        ({"regions": {"a cone": LEFT}}, "`region`"),
    ):
        with pytest.raises(BadInput, match=message):
            pipe.generate(TARGET, **(GIVEN | {"init": PHOTO, "source": SOURCE} | options))
    guided = pipe.with_(gw.Guide(lambda x: -x.mean(dim=(1, 2, 3)), 1.0, reads="images"))
    with pytest.raises(BadInput, match="guides"):
        guided.generate(TARGET, init=PHOTO, source=SOURCE, **GIVEN)
    with pytest.raises(BadValue, match="hold"):
        gw.Generate(prompt="", hold=2.0)


def test_from_repeats_it(text_pipeline, tmp_path):
    PHOTO.save(tmp_path / "photo.png")
    request = gw.Generate(
        prompt=TARGET, source=SOURCE, init=str(tmp_path / "photo.png"), model=str(text_pipeline),
        steps=4, device="cpu", out=tmp_path / "one",
    )  # fmt: skip
    made = run_generate(request, Silent())
    assert len(made.pictures) == 1 and made.sampler == "ddim"
    again = run_generate(
        gw.Generate(from_=made.pictures[0].path, out=tmp_path / "two", device="cpu"), Silent()
    )
    with Image.open(made.pictures[0].path) as one, Image.open(again.pictures[0].path) as two:
        assert one.tobytes() == two.tobytes()

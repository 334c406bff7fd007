"""What views of an image keep, and that they are the same each time."""

import torch

from graftwerk.diffusion.noisy_classifier import views

GREY = torch.full((2, 3, 16, 16), 0.5)


def test_an_even_image_stays_even_but_for_its_grain():
    found = views(GREY, 4, seed=1)
    assert len(found) == 4
    for view in found:
        assert view.shape == GREY.shape
        assert 0.01 < float((view - 0.5).std()) < 0.05
        assert torch.equal(view[0], view[1])


def test_what_is_shown_moves_a_little():
    spot = torch.zeros(1, 1, 32, 32)
    spot[:, :, 15:17, 15:17] = 1
    locations = {divmod(int(view.flatten().argmax()), 32) for view in views(spot, 8, seed=1)}
    assert len(locations) > 3
    assert all(abs(y - 15.5) < 5 and abs(x - 15.5) < 5 for y, x in locations)


def test_the_same_seed_gives_the_same_views_in_any_batch():
    first, second = (torch.stack(views(GREY, 3, seed=7)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(first[:, :1], torch.stack(views(GREY[:1], 3, seed=7)))
    assert not torch.equal(first, torch.stack(views(GREY, 3, seed=8)))


def test_a_gradient_flows_back():
    free = GREY.clone().requires_grad_()
    sum(view.sum() for view in views(free, 2, seed=1)).backward()
    assert float(free.grad.abs().sum()) > 0

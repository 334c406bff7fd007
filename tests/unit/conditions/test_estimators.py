"""Estimators by tiny models with random weights, made here."""

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from graftwerk.conditions.estimators import load_estimator
from graftwerk.conditions.kinds import CONDITIONS
from graftwerk.conditions.kinds.maps import ADE20K, normals_of_nearness
from graftwerk.errors import BadFile, BadInput

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3)).astype(np.uint8)


def save(network, processor, folder, std=0.3):
    torch.manual_seed(0)
    for parameter in network.parameters():  # far from 0, so that outputs differ
        torch.nn.init.normal_(parameter, std=std)
    network.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def dpt(tmp_path_factory):
    config = transformers.DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        is_hybrid=False,
    )
    processor = transformers.DPTImageProcessorPil(size={"height": 32, "width": 32})
    network = transformers.DPTForDepthEstimation(config)
    return save(network, processor, tmp_path_factory.mktemp("dpt"))


@pytest.fixture(scope="module")
def depth_anything(tmp_path_factory):
    """One that gives metric distances."""
    config = transformers.DepthAnythingConfig(
        backbone_config=transformers.Dinov2Config(
            hidden_size=16,
            num_hidden_layers=4,
            num_attention_heads=2,
            mlp_ratio=1,
            image_size=28,
            patch_size=14,
            out_features=["stage1", "stage2", "stage3", "stage4"],
            reshape_hidden_states=False,
        ),
        reassemble_hidden_size=16,
        patch_size=14,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type="metric",
        max_depth=20,
    )
    processor = transformers.DPTImageProcessorPil(size={"height": 42, "width": 42})
    network = transformers.DepthAnythingForDepthEstimation(config)
    return save(network, processor, tmp_path_factory.mktemp("depth_anything"), std=0.15)


@pytest.fixture(scope="module")
def segformer(tmp_path_factory):
    names = {0: "sky", 1: "grass", 2: "zebra", 3: "person"}
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 8, 8],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    processor = transformers.SegformerImageProcessorPil(size={"height": 64, "width": 64})
    network = transformers.SegformerForSemanticSegmentation(config)
    return save(network, processor, tmp_path_factory.mktemp("segformer"))


@pytest.fixture(scope="module")
def mask2former(tmp_path_factory):
    config = transformers.Mask2FormerConfig(
        backbone_config=transformers.SwinConfig(
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 1, 1],
            window_size=2,
            image_size=64,
            patch_size=4,
            out_features=["stage1", "stage2", "stage3", "stage4"],
        ),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=8,
        dim_feedforward=8,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=4,
        num_labels=150,
    )
    processor = transformers.Mask2FormerImageProcessorPil(size={"height": 64, "width": 64})
    network = transformers.Mask2FormerForUniversalSegmentation(config)
    return save(network, processor, tmp_path_factory.mktemp("mask2former"))


@pytest.fixture(scope="module")
def vitpose(tmp_path_factory):
    config = transformers.VitPoseConfig(
        backbone_config=transformers.VitPoseBackboneConfig(
            image_size=[64, 48],
            patch_size=[16, 16],
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            mlp_ratio=1,
            out_indices=[2],
        ),
        num_labels=17,
        use_simple_decoder=True,
        scale_factor=4,
    )
    processor = transformers.VitPoseImageProcessorPil(size={"height": 64, "width": 48})
    network = transformers.VitPoseForPoseEstimation(config)
    return save(network, processor, tmp_path_factory.mktemp("vitpose"))


def test_depth_is_what_the_model_says_scaled_to_its_own_range(dpt) -> None:
    found = load_estimator("depth", dpt, "cpu")(IMAGES)
    assert found.shape == IMAGES.shape and found.dtype == np.uint8
    assert (found.min(axis=(1, 2, 3)) == 0).all() and (found.max(axis=(1, 2, 3)) == 255).all()
    assert not np.array_equal(found[0], found[1])
    network = transformers.DPTForDepthEstimation.from_pretrained(dpt)
    from PIL import Image

    processor = transformers.DPTImageProcessorPil.from_pretrained(dpt)
    inputs = processor(images=Image.fromarray(IMAGES[0]), return_tensors="pt")
    with torch.no_grad():
        depth = network(**inputs).predicted_depth[None]
    requested = torch.nn.functional.interpolate(depth, (40, 56), mode="bicubic")[0, 0].numpy()
    requested = 255 * (requested - requested.min()) / np.ptp(requested)
    assert np.abs(found[0, ..., 0] - requested).max() < 1
    CONDITIONS["depth"].check_map(found[0], "a map")


def test_metric_distances_are_turned_into_nearness(depth_anything) -> None:
    from PIL import Image

    found = load_estimator("depth", depth_anything, "cpu")(IMAGES[:1])[0, ..., 0]
    network = transformers.DepthAnythingForDepthEstimation.from_pretrained(depth_anything)
    processor = transformers.DPTImageProcessorPil.from_pretrained(depth_anything)
    inputs = processor(images=Image.fromarray(IMAGES[0]), return_tensors="pt")
    with torch.no_grad():
        distance = network(**inputs).predicted_depth[None]
    distance = torch.nn.functional.interpolate(distance, (40, 56), mode="bicubic")[0, 0].numpy()
    assert np.ptp(distance) > 0.1
    requested = 1 / np.maximum(distance, 1e-3)
    requested = 255 * (requested - requested.min()) / np.ptp(requested)
    assert np.abs(found - requested).max() < 1


def test_normals_come_from_the_slope_of_depth(dpt) -> None:
    found = load_estimator("normals", dpt, "cpu")(IMAGES[:1])
    CONDITIONS["normals"].check_map(found[0], "a map")


def test_a_wall_seen_head_on_faces_the_camera_and_a_floor_faces_up() -> None:
    assert np.allclose(
        normals_of_nearness(np.full((20, 30), 0.4, dtype=np.float32))[5, 5], [0, 0, 1]
    )
    # nearness of a floor rises in a straight line from the horizon to the lower edge
    floor = np.repeat(np.linspace(0, 1, 40, dtype=np.float32)[:, None], 40, axis=1)
    normals = normals_of_nearness(floor)[5:-5, 5:-5]
    assert (normals[..., 1] > 0.7).all() and (np.abs(normals[..., 0]) < 0.2).all()
    wall = normals_of_nearness(np.ascontiguousarray(floor.T))[5:-5, 5:-5]  # nearer to the right
    assert (wall[..., 0] < -0.7).all()


def test_classes_take_the_colours_of_their_names(segformer) -> None:
    found = load_estimator("segmentation", segformer, "cpu")(IMAGES)
    assert found.shape == IMAGES.shape
    colours = {tuple(colour) for colour in found.reshape(-1, 3).tolist()}
    assert colours <= {(6, 230, 230), (4, 250, 7), ADE20K[-3], (150, 5, 61)}
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(segformer)
    processor = transformers.SegformerImageProcessorPil.from_pretrained(segformer)
    from PIL import Image

    inputs = processor(images=Image.fromarray(IMAGES[0]), return_tensors="pt")
    with torch.no_grad():
        logits = torch.nn.functional.interpolate(
            network(**inputs).logits, (40, 56), mode="bilinear"
        )
    table = np.array([(6, 230, 230), (4, 250, 7), ADE20K[-3], (150, 5, 61)])
    assert (found[0] == table[logits[0].argmax(dim=0).numpy()]).mean() > 0.99
    CONDITIONS["segmentation"].check_map(found[0], "a map")


def test_150_classes_take_the_colours_of_ade20k(mask2former) -> None:
    found = load_estimator("segmentation", mask2former, "cpu")(IMAGES[:1])
    assert found.shape == (1, 40, 56, 3)
    assert {tuple(colour) for colour in found.reshape(-1, 3).tolist()} <= set(ADE20K)
    assert len(ADE20K) == 150


def test_a_pose_model_draws_openpose_joints(vitpose, monkeypatch) -> None:
    from graftwerk.conditions import estimators

    monkeypatch.setattr(estimators, "_SURE", -1e9)  # random weights are sure of nothing
    found = load_estimator("pose", vitpose, "cpu")(IMAGES)
    assert found.shape == IMAGES.shape and found.any()
    CONDITIONS["pose"].check_map(found[0], "a map")


def test_what_does_not_fit_is_refused_by_name(dpt, segformer, tmp_path) -> None:
    with pytest.raises(BadInput, match=r"no model estimates canny.*depth, normals"):
        load_estimator("canny", dpt)
    with pytest.raises(BadInput, match=r"type 'segformer', which does not estimate depth.*dpt"):
        load_estimator("depth", segformer)
    with pytest.raises(BadFile, match="neither a built-in name nor a folder"):
        load_estimator("depth", str(tmp_path / "nowhere"))
    with pytest.raises(BadFile, match=r"no config\.json"):
        load_estimator("depth", str(tmp_path))


def test_an_estimator_reads_the_condition_of_a_control(dpt, text_pipeline, tmp_path):
    import graftwerk as gw
    from graftwerk.commands.generate import run_generate
    from graftwerk.controlnet.branch import Shape, make_branch, weights_of
    from graftwerk.controlnet.checkpoint import write_controlnet
    from graftwerk.types import Silent

    pipe = gw.Pipeline(text_pipeline, device="cpu")
    model, generator = pipe.steered.frozen, torch.Generator().manual_seed(1)
    branch = make_branch(model.unet, Shape(model.factor), generator)
    with torch.no_grad():
        for weight in weights_of(branch).values():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    (tmp_path / "branch").mkdir()
    write_controlnet(tmp_path / "branch", branch, model.unet)
    # larger than what is generated, and of its shape
    photo = Image.fromarray(np.kron(IMAGES[0, :32, :32], np.ones((2, 2, 1), np.uint8)))
    photo.save(tmp_path / "photo.png")
    net = gw.ControlNet(tmp_path / "branch", condition="depth")
    read = net(tmp_path / "photo.png", estimator=dpt)
    made = pipe.with_(read).generate("a red cube", n=1, steps=2)
    small = gw.conditions.depth(photo.resize((16, 16), Image.Resampling.LANCZOS), estimator=dpt)
    by_map = pipe.with_(net(small, is_map=True)).generate("a red cube", n=1, steps=2)
    assert torch.equal(made.latents, by_map.latents)
    assert not torch.equal(
        made.latents, pipe.with_(net(photo)).generate("a red cube", n=1, steps=2).latents
    )
    # the same estimator reads it back out of the images
    target = gw.conditions.depth(made.images[0], estimator=dpt)
    compared = CONDITIONS["depth"].compare(np.asarray(small)[None], np.asarray(target)[None])
    assert made.report.controls[0].value == pytest.approx(float(compared.values[0]))
    plain, steered = pipe.with_(net(photo)), {}
    for mode in ("balanced", "prompt", "control"):
        for cfg in (1.0, 4.0):
            options = {"n": 1, "steps": 2, "cfg": cfg, "control_mode": mode}
            steered[mode, cfg] = plain.generate("a red cube", **options).latents
    assert torch.equal(
        steered["balanced", 4.0], plain.generate("a red cube", n=1, steps=2, cfg=4.0).latents
    )
    # without guidance there is no other half to leave alone
    assert torch.equal(steered["prompt", 1.0], steered["control", 1.0])
    assert not torch.equal(steered["prompt", 4.0], steered["control", 4.0])
    assert not torch.equal(steered["prompt", 1.0], steered["balanced", 1.0])
    request = gw.Generate(
        prompt="a red cube", model=str(text_pipeline), control=[f"depth={tmp_path / 'photo.png'}"],
        branch=[f"depth={tmp_path / 'branch'}"], estimator=[f"depth={dpt}"], count=1, steps=2,
        out=tmp_path / "out", device="cpu",
    )  # fmt: skip
    [image] = run_generate(request, Silent()).pictures
    assert Image.open(image.path).tobytes() == made.images[0].tobytes()
    again = run_generate(gw.Generate(from_=image.path, out=tmp_path / "again"), Silent())
    assert Image.open(again.pictures[0].path).tobytes() == made.images[0].tobytes()
    for wrong, message in (("depth", "KIND=MODEL"), (f"canny={dpt}", "no image to read")):
        with pytest.raises(BadInput, match=message):
            run_generate(request.model_copy(update={"estimator": [wrong]}), Silent())
    with pytest.raises(BadInput, match="Leave one of them out"):
        net(photo, is_map=True, estimator=dpt)


def test_a_finished_map_of_another_size_is_resized():
    from graftwerk.controlnet.inputs import map_of
    from graftwerk.controlnet.spec import ControlInput, NamedImage

    rows = np.zeros((40, 64, 3), np.uint8)
    rows[:, 20:32], rows[:, 32:44] = ADE20K[0], ADE20K[4]
    control = ControlInput("segmentation", NamedImage("map", Image.fromarray(rows)), True)
    made = map_of(control, (16, 16))
    assert made.shape == (16, 16, 3)  # its middle, in its own colors
    assert {tuple(color) for color in made.reshape(-1, 3)} <= {
        (0, 0, 0),
        tuple(ADE20K[0]),
        tuple(ADE20K[4]),
    }
    assert tuple(made[0, 6]) == tuple(ADE20K[0]) and tuple(made[0, 9]) == tuple(ADE20K[4])

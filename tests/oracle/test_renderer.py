"""The renderer against closed forms and brute force, written a second time here in NumPy."""

import hashlib
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwerk.blocks.geometry import JOINTS, body_of
from graftwerk.blocks.maps import FAR, FIRST_OBJECT_ID, maps_of
from graftwerk.blocks.primitives import BOX, CAPSULE, CONE, CYLINDER, SPHERE
from graftwerk.blocks.rays import hit_time, normal_at
from graftwerk.blocks.renderer import render, render_light
from graftwerk.blocks.sampling import sample_scene
from graftwerk.blocks.scene import COLOURS, TIMES, Camera, Scene, SceneObject, Sun

CAMERA = Camera((0.7, 1.9, 5.2), (0.1, 0.6, -0.2), 41.0)
SUN = Sun(50.0, 45.0)


def scene_of(*things: SceneObject, camera: Camera = CAMERA, time: str = "day") -> Scene:
    return Scene(camera, SUN, "stone", time, things)


def person(**changes) -> SceneObject:
    plain = SceneObject("person", "blue", 0.0, 0.0, 1.7, 0.0, "standing", "tan")
    return replace(plain, **changes)


def pinhole(camera: Camera, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotation world -> camera (right, up, back) and unit ray directions [h w 3] in world axes."""
    back = np.array(camera.position) - np.array(camera.target)
    back /= np.linalg.norm(back)
    right = np.cross([0, 1, 0], back)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(back, right), back])
    half = math.tan(math.radians(camera.field_of_view / 2)) / (min(height, width) / 2)
    y, x = np.mgrid[:height, :width] + 0.5
    local = np.stack([(x - width / 2) * half, (height / 2 - y) * half, -np.ones_like(x)], -1)
    local /= np.linalg.norm(local, axis=-1, keepdims=True)
    return rotation, local @ rotation


@pytest.mark.parametrize(("height", "width"), [(48, 48), (40, 72), (72, 40)])
def test_ground_plane(height: int, width: int) -> None:
    maps = maps_of(scene_of(), height, width)
    rotation, rays = pinhole(CAMERA, height, width)
    down = rays[..., 1] < 0
    distance = CAMERA.position[1] / -rays[..., 1][down]
    depth = distance * -(rays[down] @ rotation[2])
    np.testing.assert_allclose(maps.depth[down], np.minimum(depth, FAR), rtol=2e-6)
    assert np.all(maps.depth[~down] == FAR)
    assert np.array_equal(maps.objects, down.astype(np.int16))
    expected = np.broadcast_to(rotation @ [0, 1, 0], maps.normals[down].shape)
    np.testing.assert_allclose(maps.normals[down], expected, atol=1e-6)
    assert np.all(maps.normals[~down] == 0)


def test_sphere() -> None:
    ball = SceneObject("sphere", "red", 0.3, -0.4, 1.2, 0.0)
    maps = maps_of(scene_of(ball), 64, 64)
    rotation, rays = pinhole(CAMERA, 64, 64)
    centre, radius = np.array([ball.x, 0.6, ball.z]), 0.6
    to = centre - np.array(CAMERA.position)
    middle = rays @ to
    square = radius**2 - (to @ to - middle**2)
    hit = square > 0
    distance = middle[hit] - np.sqrt(square[hit])
    points = np.array(CAMERA.position) + distance[:, None] * rays[hit]
    assert np.array_equal(maps.objects == FIRST_OBJECT_ID, hit)
    np.testing.assert_allclose(maps.depth[hit], distance * -(rays[hit] @ rotation[2]), rtol=2e-6)
    np.testing.assert_allclose(
        maps.normals[hit], (points - centre) / radius @ rotation.T, atol=1e-5
    )


def test_box() -> None:
    cube = SceneObject("cube", "green", -0.2, 0.1, 1.1, 33.0)
    maps = maps_of(scene_of(cube), 64, 64)
    rotation, rays = pinhole(CAMERA, 64, 64)
    # the six faces one by one: the plane's hit counts when it lies within the other two pairs
    angle = math.radians(cube.yaw)
    axes = np.array(
        [[math.cos(angle), 0, -math.sin(angle)], [0, 1, 0], [math.sin(angle), 0, math.cos(angle)]]
    )
    centre, half = np.array([cube.x, 0.55, cube.z]), 0.55
    best = np.full(rays.shape[:2], np.inf)
    normals = np.zeros_like(rays)
    for axis in range(3):
        for sign in (-1, 1):
            outward = sign * axes[axis]
            time = (half - (np.array(CAMERA.position) - centre) @ outward) / (rays @ outward)
            local = (np.array(CAMERA.position) + time[..., None] * rays - centre) @ axes.T
            within = np.all(np.abs(np.delete(local, axis, -1)) <= half, axis=-1)
            nearer = within & (time > 0) & (time < best)
            best[nearer], normals[nearer] = time[nearer], rotation @ outward
    hit = np.isfinite(best)
    assert np.array_equal(maps.objects == FIRST_OBJECT_ID, hit)
    depth = best[hit] * -(rays[hit] @ rotation[2])
    np.testing.assert_allclose(maps.depth[hit], depth, rtol=2e-6)
    np.testing.assert_allclose(maps.normals[hit], normals[hit], atol=1e-6)


# for each kind: the numbers of one, and a function that is negative inside it
COS, SIN = math.cos(0.6), math.sin(0.6)


def _box_inside(p: np.ndarray) -> np.ndarray:
    x, z = COS * p[..., 0] - SIN * p[..., 2], SIN * p[..., 0] + COS * p[..., 2]
    return np.max(np.abs(np.stack([x, p[..., 1] - 0.5, z], -1)) - (0.7, 0.5, 0.4), axis=-1)


def _upright_inside(slope: float):
    def inside(p: np.ndarray) -> np.ndarray:
        side = np.hypot(p[..., 0], p[..., 2]) - (0.6 - slope * p[..., 1])
        return np.max(np.stack([side, -p[..., 1], p[..., 1] - 1.2]), axis=0)

    return inside


def _capsule_inside(p: np.ndarray) -> np.ndarray:
    start, axis = np.array([-0.5, 0.4, 0.2]), np.array([0.9, 0.5, -0.6])
    share = np.clip((p - start) @ axis / (axis @ axis), 0, 1)
    return np.linalg.norm(p - start - share[..., None] * axis, axis=-1) - 0.3


PRIMITIVES = {
    "sphere": (
        SPHERE,
        (0, 0.5, 0, 0.7, 1, 0),
        lambda p: np.linalg.norm(p - (0, 0.5, 0), axis=-1) - 0.7,
    ),
    "box": (BOX, (0, 0.5, 0, 0.7, 0.5, 0.4, COS, SIN), _box_inside),
    "cylinder": (CYLINDER, (0, 0, 0, 0.6, 1.2), _upright_inside(0.0)),
    "cone": (CONE, (0, 0, 0, 0.6, 1.2), _upright_inside(0.5)),
    "capsule": (CAPSULE, (-0.5, 0.4, 0.2, 0.4, 0.9, -0.4, 0.3), _capsule_inside),
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitives_against_marching(name: str) -> None:
    """Walk along random rays in small steps until the point is inside."""
    kind, numbers, inside = PRIMITIVES[name]
    shapes = np.zeros((1, 8))
    shapes[0, : len(numbers)] = numbers
    generator = np.random.default_rng(5)
    step = 5e-4
    times = np.arange(0, 6, step)
    hits = 0
    for _ in range(250):
        origin = generator.normal(size=3)
        origin *= 3 / np.linalg.norm(origin)
        toward = np.array([0, 0.5, 0]) + generator.normal(scale=0.6, size=3) - origin
        toward /= np.linalg.norm(toward)
        found = hit_time(kind, shapes, 0, tuple(origin), tuple(toward))
        within = np.flatnonzero(inside(origin + times[:, None] * toward) < 0)
        if not len(within):  # at most a graze shorter than a step
            assert found == np.inf or inside(origin + (found + step) * toward) > -step
            continue
        hits += 1
        assert times[within[0]] - step <= found <= times[within[0]] + 1e-9
        point = origin + found * toward
        assert abs(inside(point)) < 1e-9
        normal, _ = normal_at(kind, shapes, 0, tuple(point))
        assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-12)
        assert np.dot(normal, toward) < 1e-9
        # a step along the normal leaves the solid, a step against it enters
        assert inside(point + 1e-6 * np.array(normal)) > 0 > inside(point - 1e-6 * np.array(normal))
    assert hits > 50


def test_rays_from_inside_a_bound_and_parallel_to_faces() -> None:
    shapes = np.zeros((1, 8))
    shapes[0] = (0, 0, 0, 0.5, 0.5, 0.5, 1, 0)
    assert hit_time(BOX, shapes, 0, (0.0, 0.0, 3.0), (0.0, 0.0, -1.0)) == 2.5
    assert hit_time(BOX, shapes, 0, (0.6, 0.0, 3.0), (0.0, 0.0, -1.0)) == np.inf
    assert hit_time(BOX, shapes, 0, (0.0, 0.0, 3.0), (0.0, 0.0, 1.0)) == np.inf


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000))
def test_segmentation_is_depth_order(number: int) -> None:
    scene = sample_scene(11, number)
    together = maps_of(scene, 40, 40)
    alone = [maps_of(replace(scene, objects=(thing,)), 40, 40) for thing in scene.objects]
    depths = [np.where(maps.objects == FIRST_OBJECT_ID, maps.depth, np.inf) for maps in alone]
    background = maps_of(replace(scene, objects=()), 40, 40)
    nearest = np.argmin(depths, axis=0)
    some = np.isfinite(np.min(depths, axis=0))
    expected = np.where(some, nearest + FIRST_OBJECT_ID, background.objects)
    assert np.array_equal(together.objects, expected)
    assert np.array_equal(together.depth, np.where(some, np.min(depths, axis=0), background.depth))
    length = np.linalg.norm(together.normals, axis=-1)
    np.testing.assert_allclose(length[together.objects > 0], 1, atol=1e-6)


def test_supersampling_is_the_mean_of_a_finer_image() -> None:
    scene = sample_scene(2, 5)
    fine = render_light(scene, 96, 64, 1).astype(np.float64)
    mean = fine.reshape(48, 2, 32, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(render_light(scene, 48, 32, 2), mean, rtol=1e-5, atol=1e-7)


def test_the_same_bits_in_another_process() -> None:
    code = (
        "import hashlib; from graftwerk.blocks.renderer import render;"
        "from graftwerk.blocks.sampling import sample_scene;"
        "print(hashlib.sha256(render(sample_scene(4, 2), 64, 64).tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = render(sample_scene(4, 2), 64, 64)
    assert hashlib.sha256(here.tobytes()).hexdigest() == done.stdout.strip()
    assert len(np.unique(here)) > 30


def test_shadow_lies_opposite_the_sun() -> None:
    camera = Camera((0.0, 9.0, 0.1), (0.0, 0.0, 0.0), 60.0)  # nearly straight from above
    ball = SceneObject("sphere", "white", 0.0, 0.0, 1.0, 0.0)
    bare = render_light(scene_of(camera=camera), 200, 200, 1).mean(-1)
    with_ball = render_light(scene_of(ball, camera=camera), 200, 200, 1).mean(-1)
    ratio = with_ball / bare
    _, rays = pinhole(camera, 200, 200)
    ground = np.array(camera.position) + rays * (camera.position[1] / -rays[..., 1])[..., None]

    angle, height = math.radians(SUN.azimuth), math.radians(SUN.elevation)
    sun = np.array([math.sin(angle), math.tan(height), math.cos(angle)])
    sun /= np.linalg.norm(sun)
    # a ground point is in shadow when its ray to the sun passes the center within the radius
    to = np.array([0, 0.5, 0]) - ground
    passing = np.linalg.norm(to - (to @ sun)[..., None] * sun, axis=-1)
    outside = np.hypot(ground[..., 0], ground[..., 2]) > 0.8  # not hidden by the ball itself
    core = (passing < 0.4) & (to @ sun > 0) & outside
    clear = (passing > 0.65) & outside
    assert core.sum() > 20
    assert ratio[core].max() < 0.35
    assert ratio[clear].min() > 0.75
    assert ratio[np.linalg.norm(ground, axis=-1) > 4].min() > 0.98


def test_joints_are_ends_of_limbs_and_project_there() -> None:
    thing = person(yaw=25.0, pose="waving", x=0.4)
    body = body_of(thing)
    ends = [row.shape[k : k + 3] for row in body.primitives if row.kind == CAPSULE for k in (0, 3)]
    for joint in range(1, 14):
        assert min(np.linalg.norm(body.joints[joint] - end) for end in ends) < 1e-12, JOINTS[joint]
    (people,) = maps_of(scene_of(thing), 80, 60).people
    rotation, _ = pinhole(CAMERA, 80, 60)
    local = (body.joints - np.array(CAMERA.position)) @ rotation.T
    scale = 30 / math.tan(math.radians(CAMERA.field_of_view / 2))
    x, y = 30 + scale * local[:, 0] / -local[:, 2], 40 - scale * local[:, 1] / -local[:, 2]
    np.testing.assert_allclose(people.points, np.stack([x, y], 1), atol=1e-4)


def test_a_person_is_upright_and_faces_the_camera() -> None:
    joints = dict(zip(JOINTS, body_of(person()).joints, strict=True))
    assert joints["nose"][2] > joints["neck"][2]
    for part in ("wrist", "shoulder", "ankle", "eye", "ear"):
        assert joints[f"left {part}"][0] > 0 > joints[f"right {part}"][0]
    heights = [joints[name][1] for name in ("nose", "neck", "left hip", "left knee", "left ankle")]
    assert heights == sorted(heights, reverse=True)
    waving = dict(zip(JOINTS, body_of(person(pose="waving")).joints, strict=True))
    assert waving["right wrist"][1] > waving["nose"][1] > waving["left wrist"][1]
    out = dict(zip(JOINTS, body_of(person(pose="arms out")).joints, strict=True))
    assert out["left wrist"][1] == pytest.approx(out["left shoulder"][1])
    low = min(
        row.shape[1] - row.shape[6] for row in body_of(person()).primitives if row.kind == CAPSULE
    )
    assert low == pytest.approx(0, abs=0.03)


def test_visibility_of_joints() -> None:
    camera = Camera((0.0, 1.2, 6.0), (0.0, 0.8, 0.0), 30.0)

    def visible(*things: SceneObject) -> dict[str, bool]:
        (people,) = maps_of(scene_of(*things, camera=camera), 96, 96).people
        return dict(zip(JOINTS, people.visible.tolist(), strict=True))

    front = visible(person())
    assert all(seen for name, seen in front.items() if "ear" not in name)
    back = visible(person(yaw=180.0))
    assert not any(back[name] for name in ("nose", "left eye", "right eye"))
    assert back["neck"]
    cube = SceneObject("cube", "red", 0.0, 1.5, 0.7, 0.0)
    hidden = visible(person(), cube)
    assert not any(
        hidden[f"{side} {part}"] for side in ("left", "right") for part in ("knee", "ankle")
    )
    assert hidden["nose"]
    close = visible(person(), SceneObject("cube", "red", 0.156, 0.13, 0.16, 0.0))
    assert not close["left ankle"]  # something else hides it, however little is between
    assert close["right ankle"]
    side = visible(person(yaw=90.0))
    assert side["left ear"] != side["right ear"]
    away = visible(person(x=1.55, pose="arms out"))
    assert not away["left wrist"]
    assert away["right wrist"]


def test_outlines_and_creases_of_a_cube() -> None:
    cube = SceneObject("cube", "red", 0.0, 0.0, 1.4, 30.0)
    maps = maps_of(scene_of(cube), 128, 128)
    inside = maps.objects == FIRST_OBJECT_ID
    padded = np.pad(inside, 1)
    neighbours = [
        padded[1 + i : 129 + i, 1 + j : 129 + j] for i, j in ((0, 1), (0, -1), (1, 0), (-1, 0))
    ]
    edge = inside & ~np.all(neighbours, axis=0)
    assert np.array_equal(maps.outlines & inside, edge)
    # creases: three visible faces meet in edges that run from one corner of the cube
    faces = np.round(maps.normals[maps.creases], 3)
    assert 60 < maps.creases.sum() < 260
    assert len(np.unique(faces, axis=0)) >= 2
    ball = maps_of(scene_of(SceneObject("sphere", "red", 0.0, 0.0, 1.4, 0.0)), 64, 64)
    assert not ball.creases.any()
    horizon = maps_of(scene_of(), 64, 64)
    assert np.array_equal(horizon.outlines.sum(axis=0), np.ones(64))


@pytest.mark.parametrize("time", TIMES)
def test_colours_can_be_named(time: str) -> None:
    """The nearest mean color among solids of other kinds is one of the same name."""
    means: dict[tuple[str, str], np.ndarray] = {}
    for kind in ("sphere", "cube", "cylinder", "cone"):
        for colour in COLOURS:
            scene = scene_of(SceneObject(kind, colour, 0.0, 0.0, 1.3, 20.0), time=time)
            mask = maps_of(scene, 48, 48).objects == FIRST_OBJECT_ID
            means[kind, colour] = render(scene, 48, 48)[mask].mean(axis=0)
    for (kind, colour), mean in means.items():
        others = {key: value for key, value in means.items() if key[0] != kind}
        nearest = min(others, key=lambda key: np.linalg.norm(others[key] - mean))
        assert nearest[1] == colour, f"{colour} {kind} at {time} looks like {nearest}"

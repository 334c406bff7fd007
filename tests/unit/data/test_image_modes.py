"""One photo-like image in many modes and formats is read as the same image."""

import builtins
import io
import random
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from graftwerk.data.images import ImageNotes, convert_image, open_image
from graftwerk.errors import BadFile
from graftwerk.models.encoders import load_encoder

SIZE = (96, 64)


def photo():
    """A shaded scene with an object, a little noisy, as 8-bit RGB."""
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    disc = (x - 50) ** 2 + (y - 30) ** 2 < 300
    levels = np.stack([40 + 160 * x / SIZE[0], 60 + 120 * y / SIZE[1], 200 - 120 * disc], axis=-1)
    levels += np.random.default_rng(0).normal(0, 2, levels.shape)
    levels[10:30, 60:80] = (230, 40, 30)
    return Image.fromarray(np.clip(levels, 20, 240).astype(np.uint8))


PHOTO = photo()
GRAY = PHOTO.convert("L")
LEVELS = np.asarray(GRAY)
ALPHA = Image.new("L", SIZE, 255)
ALPHA.paste(0, (0, 0, 30, 30))


def on_white(image):
    shown = image.copy()
    shown.paste(255 if image.mode == "L" else (255, 255, 255), (0, 0, 30, 30))
    return shown


def hidden(image):
    """The image with its transparent part, whose color nobody is to see."""
    cut = image.copy()
    cut.paste(7 if image.mode == "L" else (250, 0, 250), (0, 0, 30, 30))
    return cut


def with_alpha(image):
    cut = hidden(image)
    cut.putalpha(ALPHA)
    return cut


def packed(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of_16_bits(rows, color, transparent=b""):
    """A PNG with 16 bits a channel; Pillow writes only gray ones."""

    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    height, width = rows.shape[:2]
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"tRNS", transparent), (b"IDAT", zlib.compress(lines))]
    body = b"".join(chunk(kind, part) for kind, part in chunks if part)
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def unsigned(content):
    """A 32-bit TIFF of Pillow marked as unsigned, as other programs write them."""
    changed = bytearray(content)
    start = struct.unpack("<I", content[4:8])[0]
    for location in range(start + 2, start + 2 + 12 * content[start], 12):
        if changed[location : location + 2] == struct.pack("<H", 339):
            changed[location + 8] = 1
    return bytes(changed)


def icc(space, pcs, **tags):
    """A color profile by the specification of the ICC."""
    content = {name: body + bytes(-len(body) % 4) for name, body in tags.items()}
    start = 132 + 12 * len(content)
    table = b""
    for name, body in content.items():
        table += name.encode() + struct.pack(">II", start, len(body))
        start += len(body)
    head = struct.pack(">I4xI4s4s4s12x4s", start, 0x02400000, b"mntr", space, pcs, b"acsp")
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return (
        head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + b"".join(content.values())
    )


def xyz(*values):
    return b"XYZ ".ljust(8, b"\0") + struct.pack(">3i", *(round(value * 65536) for value in values))


GAMMA = 563 / 256
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
CURVE = b"curv".ljust(8, b"\0") + struct.pack(">IH", 1, round(GAMMA * 256))
WHITE = {"wtpt": xyz(0.9642, 1, 0.8249)}
WIDE = icc(
    b"RGB ",
    b"XYZ ",
    **WHITE,
    **{f"{name}XYZ": xyz(*color) for name, color in zip("rgb", ADOBE_RGB, strict=True)},
    **{f"{name}TRC": CURVE for name in "rgb"},
)
GRAY_18 = icc(b"GRAY", b"XYZ ", **WHITE, kTRC=b"curv".ljust(8, b"\0") + struct.pack(">IH", 1, 461))
INK = icc(  # paper is white, the second ink is red, and all others are black
    b"CMYK",
    b"Lab ",
    **WHITE,
    A2B0=b"mft1".ljust(8, b"\0")
    + struct.pack(">4B9i", 4, 3, 2, 0, 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    + bytes(range(256)) * 4
    + bytes([255, 128, 128, *[0, 128, 128] * 3, 135, 195, 180, *[0, 128, 128] * 11])
    + bytes(range(256)) * 3,
)


def through(levels, source, target, decode, encode):
    """Colors of one space in another, by the matrices of their primaries."""
    light = decode(np.asarray(levels) / 255) @ np.array(source) @ np.linalg.inv(np.array(target))
    return np.round(encode(np.clip(light, 0, 1)) * 255).astype(np.uint8)


def srgb_light(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def srgb_values(light):
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def sideways(kind, **options):
    exif = Image.Exif()
    exif[0x0112] = 6
    return packed(PHOTO.transpose(Image.Transpose.ROTATE_90), kind, exif=exif, **options)


def wide(scale, kind):
    return LEVELS.astype(kind) * kind(scale)


def tiff(array, **options):
    return packed(Image.fromarray(array), "TIFF", **options)


FLOATS = LEVELS.astype(np.float32)
BROKEN = FLOATS / 255
BROKEN[0, :3] = (np.nan, np.inf, -np.inf)
MORE = {"save_all": True, "append_images": [GRAY.convert("RGB")] * 3}
DEEP = np.concatenate([np.asarray(hidden(PHOTO)), np.asarray(ALPHA)[..., None]], axis=-1)
BITS, CLEAR, FIRST = "16 bits scaled to 8", "transparent, on white", "first of 4 frames"
PROFILE, WITHOUT = "color profile to sRGB", "color profile not applied"
ADOBE = Image.fromarray(
    through(PHOTO, SRGB, ADOBE_RGB, srgb_light, lambda light: light ** (1 / GAMMA))
)
OWN = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

SAME = {  # content, the image that viewers show, what is noted
    "png": (packed(PHOTO, "PNG"), PHOTO, ()),
    "webp": (packed(PHOTO, "WEBP", lossless=True), PHOTO, ()),
    "bmp": (packed(PHOTO, "BMP"), PHOTO, ()),
    "tiff-lzw": (packed(PHOTO, "TIFF", compression="tiff_lzw"), PHOTO, ()),
    "exif-png": (sideways("PNG"), PHOTO, ()),
    "exif-tiff": (sideways("TIFF"), PHOTO, ()),
    "gray": (packed(GRAY, "PNG"), GRAY, ()),
    "gray-opaque-alpha": (packed(GRAY.convert("LA"), "PNG"), GRAY, ()),
    "one-bit": (packed(GRAY.convert("1"), "PNG"), GRAY.convert("1"), ()),
    "fax": (packed(GRAY.convert("1"), "TIFF", compression="group4"), GRAY.convert("1"), ()),
    "16-png": (packed(Image.fromarray(wide(257, np.uint16)), "PNG"), GRAY, (BITS,)),
    "16-tiff": (tiff(wide(257, np.uint16)), GRAY, (BITS,)),
    "16-big-endian": (tiff(wide(257, np.uint16).astype(">u2")), GRAY, (BITS,)),
    "16-white-is-zero": (tiff(65535 - wide(257, np.uint16), tiffinfo={262: 0}), GRAY, (BITS,)),
    "12-bits": (tiff(wide(16, np.uint16) + LEVELS // 16), GRAY, ("16 bits (12 used) scaled to 8",)),
    "32": (tiff(wide(257, np.int32)), GRAY, ("32 bits (16 used) scaled to 8",)),
    "32-unsigned": (
        unsigned(tiff(wide(16843009, np.uint32).view(np.int32))), GRAY, ("32 bits scaled to 8",)
    ),
    "float-1": (tiff(FLOATS / 255), GRAY, ("floats scaled to 8 bits",)),
    "float-minus-1": (tiff(FLOATS / 127.5 - 1), GRAY, ("floats scaled to 8 bits",)),
    "float-255": (tiff(FLOATS), GRAY, ("floats scaled to 8 bits",)),
    "16-rgb": (png_of_16_bits(np.asarray(PHOTO).astype(int) * 257, 2), PHOTO, (BITS,)),
    "16-rgba": (png_of_16_bits(DEEP.astype(int) * 257, 6), on_white(PHOTO), (BITS, CLEAR)),
    "16-clear": (
        png_of_16_bits(np.asarray(hidden(GRAY)).astype(int) * 257, 0, struct.pack(">H", 7 * 257)),
        on_white(GRAY),
        (BITS, CLEAR),
    ),
    "cmyk-tiff": (packed(PHOTO.convert("CMYK"), "TIFF"), PHOTO, ("CMYK to RGB",)),
    "rgba-png": (packed(with_alpha(PHOTO), "PNG"), on_white(PHOTO), (CLEAR,)),
    "rgba-webp": (
        packed(with_alpha(PHOTO), "WEBP", lossless=True, exact=True), on_white(PHOTO), (CLEAR,)
    ),
    "rgba-tiff": (packed(with_alpha(PHOTO), "TIFF"), on_white(PHOTO), (CLEAR,)),
    "la": (packed(with_alpha(GRAY), "PNG"), on_white(GRAY), (CLEAR,)),
    "clear-color": (
        packed(hidden(PHOTO), "PNG", transparency=(250, 0, 250)), on_white(PHOTO), (CLEAR,)
    ),
    "clear-gray": (packed(hidden(GRAY), "PNG", transparency=7), on_white(GRAY), (CLEAR,)),
    "srgb-profile": (packed(PHOTO, "PNG", icc_profile=OWN), PHOTO, ()),
    "gray-srgb-profile": (packed(GRAY, "PNG", icc_profile=OWN), GRAY, ()),
    "broken-profile": (packed(PHOTO, "PNG", icc_profile=b"none" * 40), PHOTO, (WITHOUT,)),
    "gray-profile-of-colors": (packed(PHOTO, "PNG", icc_profile=GRAY_18), PHOTO, (WITHOUT,)),
    "animated-png": (packed(PHOTO, "PNG", **MORE), PHOTO, (FIRST,)),
    "pages": (packed(PHOTO, "TIFF", **MORE), PHOTO, (FIRST,)),
}  # fmt: skip
NEAR = {  # the same with what lossy formats, palettes and other colors change
    "jpeg": (packed(PHOTO, "JPEG", quality=95), PHOTO, ()),
    "exif-jpeg": (sideways("JPEG", quality=95), PHOTO, ()),
    "cmyk-jpeg": (packed(PHOTO.convert("CMYK"), "JPEG", quality=95), PHOTO, ("CMYK to RGB",)),
    "adobe-rgb": (packed(ADOBE, "PNG", icc_profile=WIDE), PHOTO, (PROFILE,)),
    "adobe-rgb-jpeg": (packed(ADOBE, "JPEG", quality=95, icc_profile=WIDE), PHOTO, (PROFILE,)),
    "mpo": (packed(PHOTO, "MPO", quality=95, **MORE), PHOTO, (FIRST,)),
    "ycbcr-tiff": (packed(PHOTO.convert("YCbCr"), "TIFF"), PHOTO, ("YCbCr to RGB",)),
    "palette": (packed(PHOTO.quantize(256), "PNG"), PHOTO, ()),
    "clear-palette": (packed(with_alpha(PHOTO).quantize(256), "PNG"), on_white(PHOTO), (CLEAR,)),
    "clear-gif": (packed(with_alpha(PHOTO), "GIF"), on_white(PHOTO), (CLEAR,)),
    "animated-gif": (
        packed(PHOTO, "GIF", save_all=True, append_images=[GRAY, PHOTO.rotate(90)]),
        PHOTO,
        ("first of 3 frames",),
    ),
    "32-full": (tiff(wide(2**23, np.int32)), GRAY, ("32 bits scaled to 8",)),
    "float-broken": (tiff(BROKEN), GRAY, ("floats scaled to 8 bits",)),
}  # fmt: skip
if features.check("avif"):
    NEAR["avif"] = (packed(PHOTO, "AVIF", quality=95), PHOTO, ())
    NEAR["clear-avif"] = (packed(with_alpha(PHOTO), "AVIF", quality=95), on_white(PHOTO), (CLEAR,))


def opened(tmp_path, content, **options):
    path = tmp_path / "image"
    path.write_bytes(content)
    return open_image(str(path), **options)


@pytest.mark.parametrize("name", SAME)
def test_modes_that_hold_the_same_levels(tmp_path, name):
    content, shown, notes = SAME[name]
    found = opened(tmp_path, content)
    assert found.notes == notes
    assert np.array_equal(np.asarray(found.image), np.asarray(shown.convert("RGB")))


@pytest.mark.parametrize("name", NEAR)
def test_modes_that_hold_nearly_the_same(tmp_path, name):
    content, shown, notes = NEAR[name]
    found = opened(tmp_path, content)
    assert found.notes == notes
    assert found.image.size == shown.size
    apart = np.asarray(found.image).astype(int) - np.asarray(shown.convert("RGB"))
    assert np.abs(apart).mean() < 6


def test_an_encoder_sees_the_same_in_all_of_them(tmp_path):
    """Cosines of whatever shows the same image: the photo, its gray form, and both cut out."""
    encoder = load_encoder("builtin/blocks-clip")
    groups = {}
    for content, shown, _ in (SAME | NEAR).values():
        groups.setdefault(shown.convert("RGB").tobytes(), []).append(
            opened(tmp_path, content).image
        )
    assert sorted(len(images) for images in groups.values())[-1] > 10
    for images in groups.values():
        vectors = encoder.encode_images(images)
        assert (vectors @ vectors.T).min() > 0.99


def test_a_color_profile_is_applied_once_and_exactly(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    content = packed(Image.fromarray(levels), "PNG", icc_profile=WIDE)
    found = opened(tmp_path, content)
    expected = through(levels, ADOBE_RGB, SRGB, lambda values: values**GAMMA, srgb_values)
    assert np.abs(np.asarray(found.image).astype(int) - expected).max() <= 1
    again = convert_image(found.image)
    assert again.notes == ()
    assert "icc_profile" not in found.image.info  # files made from it are the same at any time
    assert (
        again.image.tobytes()
        == found.image.tobytes()
        == convert_image(Image.open(io.BytesIO(content))).image.tobytes()
    )
    assert opened(tmp_path, content, depth=True).image.tobytes() == levels.tobytes()


def test_damaged_profiles_are_applied_or_noted():
    chance = random.Random(0)
    notes = Counter()
    for number in range(400):
        base, mode = [(WIDE, "RGB"), (GRAY_18, "L"), (INK, "CMYK"), (OWN, "RGB")][number % 4]
        profile = bytearray(base)
        for _ in range(chance.randint(1, 4)):
            profile[chance.randrange(len(profile))] = chance.randrange(256)
        image = Image.new(mode, (4, 4))
        image.info["icc_profile"] = bytes(profile[: chance.randint(len(base) // 2, 2 * len(base))])
        notes.update(convert_image(image).notes)
    assert notes[PROFILE] > 20
    assert notes[WITHOUT] > 20


def test_profiles_of_gray_and_of_inks(tmp_path):
    found = opened(tmp_path, packed(GRAY, "PNG", icc_profile=GRAY_18))
    expected = srgb_values((LEVELS / 255) ** 1.8) * 255
    assert found.notes == (PROFILE,)
    assert np.abs(np.asarray(found.image)[..., 0] - expected).max() <= 1.5
    paper = Image.new("CMYK", (2, 1), (0, 0, 0, 0))
    paper.putpixel((1, 0), (0, 255, 0, 0))
    found = opened(tmp_path, packed(paper, "TIFF", icc_profile=INK))
    assert found.notes == ("CMYK to RGB", PROFILE)
    assert found.image.getpixel((0, 0)) == (255, 255, 255)
    red, green, blue = found.image.getpixel((1, 0))
    assert red > 180 and max(green, blue) < 60  # it were magenta without the profile


def test_dark_16_bit_images_stay_dark(tmp_path):
    dark = np.minimum(LEVELS, 12).astype(np.uint16) * 257
    found = opened(tmp_path, packed(Image.fromarray(dark), "PNG"))
    assert np.asarray(found.image).max() == 12


def test_values_below_zero_are_scaled_by_their_range(tmp_path):
    found = opened(tmp_path, tiff(LEVELS.astype(np.int32) * 1000 - 60_000))
    assert found.notes == ("32 bits scaled to 8 by their range",)
    assert (np.asarray(found.image).min(), np.asarray(found.image).max()) == (0, 255)


def test_millimeters_become_nearness_with_holes_as_far(tmp_path):
    millimeters = np.full((8, 8), 3000, dtype=np.uint16)
    millimeters[2:4, 2:4], millimeters[5, 5] = 600, 0
    content = packed(Image.fromarray(millimeters), "PNG")
    found = opened(tmp_path, content, depth=True)
    levels = np.asarray(found.image)[..., 0]
    assert found.notes == ("millimeters to nearness, 0 as far",)
    assert (levels[2, 2], levels[0, 0], levels[5, 5]) == (255, 0, 0)
    plain = opened(tmp_path, content)
    assert plain.notes == ("16 bits (12 used) scaled to 8",)
    assert np.asarray(plain.image)[0, 0, 0] > np.asarray(plain.image)[2, 2, 0] > 0
    whole = wide(257, np.uint16)  # fills its 16 bits, so it is a map of nearness already
    found = opened(tmp_path, packed(Image.fromarray(whole), "PNG"), depth=True)
    assert np.array_equal(np.asarray(found.image)[..., 0], LEVELS)


CUT = {name: SAME[name][0] for name in ("png", "webp", "bmp", "16-tiff")}
CUT |= {name: NEAR[name][0] for name in ("jpeg", "clear-gif", "avif") if name in NEAR}


@pytest.mark.parametrize("share", [0.2, 0.9])
@pytest.mark.parametrize("name", CUT)
def test_files_cut_short_say_so(tmp_path, name, share):
    content = CUT[name][: int(share * len(CUT[name]))]
    with pytest.raises(BadFile, match=f"cut short after {len(content):,} bytes"):
        opened(tmp_path, content)


def test_a_damaged_file_that_is_whole_is_not_called_cut_short(tmp_path):
    content = bytearray(SAME["png"][0])
    content[60:90] = bytes(30)
    with pytest.raises(BadFile, match=r"not a readable image \("):
        opened(tmp_path, bytes(content))
    with pytest.raises(BadFile, match="it is empty"):
        opened(tmp_path, b"")


def test_a_later_frame_that_is_damaged_is_not_read(tmp_path):
    content = packed(PHOTO, "GIF", save_all=True, append_images=[GRAY, PHOTO.rotate(90)])
    found = opened(tmp_path, content[: int(0.9 * len(content))])
    assert found.image.size == SIZE
    assert "frames" in found.notes[0]


def test_heic_without_its_package_says_how_to_install_it(tmp_path, monkeypatch):
    def refuse(name, *rest, plain=builtins.__import__):
        if name == "pillow_heif":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(BadFile, match=r"HEIC image.*pip install 'graftwerk\[heif\]'"):
        opened(tmp_path, b"\0\0\0\x18ftypheic" + bytes(16))


def test_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    found = opened(tmp_path, packed(PHOTO, "HEIF", quality=95))
    assert np.abs(np.asarray(found.image).astype(int) - np.asarray(PHOTO)).mean() < 6
    assert opened(tmp_path, packed(with_alpha(PHOTO), "HEIF")).notes == (CLEAR,)


def test_notes_are_counted_in_one_line():
    notes = ImageNotes()
    for one in [(CLEAR,), (), (BITS, CLEAR), (FIRST,), ("first of 12 frames",)]:
        notes.add(one)
    assert notes.counts == {CLEAR: 2, "first of several frames": 2, BITS: 1}
    assert notes.lines() == [
        "images converted in reading: 2 first of several frames; 2 transparent, on white; "
        "1 16 bits scaled to 8"
    ]
    assert ImageNotes().lines() == []

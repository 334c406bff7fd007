import hashlib
import io
import random
import warnings

import pytest
from PIL import Image
from tests.hostile.make import png_of

from graftwerk import limits
from graftwerk.data import images
from graftwerk.data.documents.formats import IMAGES, SUFFIXES, is_image_path
from graftwerk.data.images import FORMATS, open_image, read_image
from graftwerk.errors import BadFile, LimitExceeded


def packed(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(tmp_path, content, name="picture"):
    path = tmp_path / name
    path.write_bytes(content)
    return read_image(str(path))


def noise(seed=0, size=(24, 16), mode="RGB"):
    count = size[0] * size[1] * len(mode)
    return Image.frombytes(mode, size, random.Random(seed).randbytes(count))


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_by_content_not_by_name(tmp_path, kind):
    image = read(tmp_path, packed(noise(), kind), "picture.txt")
    assert (image.mode, image.size) == ("RGB", (24, 16))


@pytest.mark.parametrize("kind", ["PPM", "TGA", "ICO", "PCX"])
def test_other_formats_are_refused(tmp_path, kind):
    with pytest.raises(BadFile, match="not a readable image"):
        read(tmp_path, packed(noise(), kind), "picture.png")


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "1", "P", "I;16"])
def test_modes_become_rgb(tmp_path, mode):
    image = noise().convert(mode) if mode != "I;16" else Image.new("I;16", (24, 16), 300)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert read(tmp_path, packed(image, kind)).mode == "RGB"


def test_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read(tmp_path, packed(noise(), "JPEG", exif=exif)).size == (16, 24)


def test_first_frame(tmp_path):
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    image = read(tmp_path, packed(red, "GIF", save_all=True, append_images=[blue]))
    assert image.getpixel((0, 0)) == (255, 0, 0)


def test_side_limit(tmp_path):
    side = limits.IMAGE_SIDE
    assert read(tmp_path, png_of(side, 1, bytes(1 + side // 8))).size == (side, 1)
    with pytest.raises(LimitExceeded, match="16,385 x 1"):
        read(tmp_path, png_of(side + 1, 1, bytes(2 + side // 8)))


def test_pixel_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "IMAGE_PIXELS", 24 * 16)
    assert read(tmp_path, packed(noise(), "PNG")).size == (24, 16)
    with pytest.raises(LimitExceeded, match="25 x 16"):
        read(tmp_path, packed(noise(size=(25, 16)), "PNG"))


@pytest.mark.parametrize("side", [8_000, 10_000, 40_000])  # Pillow reads, warns, refuses
def test_bombs_are_stopped_by_their_header(tmp_path, side):
    with pytest.raises(LimitExceeded, match="pixels"):
        read(tmp_path, png_of(side, side, b""))


def test_byte_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "IMAGE_FILE", 10)
    with pytest.raises(LimitExceeded, match="bytes"):
        read(tmp_path, packed(noise(), "PNG"))


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated(tmp_path, kind):
    content = packed(noise(), kind)
    with pytest.raises(BadFile):
        read(tmp_path, content[: len(content) // 2])


def test_warnings_of_the_caller_are_left_alone(tmp_path):
    before = (list(warnings.filters), Image.MAX_IMAGE_PIXELS)
    read(tmp_path, packed(noise(), "PNG"))
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before


def test_image_paths():
    assert is_image_path("/a/b.JPG") and is_image_path("b.tiff")
    assert not is_image_path("png") and not is_image_path("a.png.md")


def mutate(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice([1, 2, 8, 40])):
        at = chance.randrange(len(changed))
        action = chance.randrange(4)
        if action == 0:
            changed[at] ^= 1 << chance.randrange(8)
        elif action == 1:
            changed[at] = chance.choice([0, 1, 127, 128, 255])
        elif action == 2:
            del changed[at : at + chance.randrange(1, 20)]
        else:
            changed[at:at] = chance.randbytes(chance.randrange(1, 20))
        if not changed:
            break
    return bytes(changed)


def originals():
    exif = Image.Exif()
    exif[0x0112] = 6
    yield packed(noise(), "JPEG", exif=exif)
    yield packed(noise(), "JPEG", progressive=True)
    yield packed(noise(), "PNG", exif=exif)
    yield packed(noise().convert("P"), "PNG")
    yield packed(noise(), "WEBP", lossless=True)
    yield packed(noise(), "WEBP", exif=exif)
    yield packed(noise(), "GIF", save_all=True, append_images=[noise(1)])
    yield packed(noise(), "BMP")
    yield packed(noise(), "TIFF")
    yield packed(noise(), "TIFF", compression="tiff_lzw")
    yield packed(noise(), "TIFF", compression="tiff_adobe_deflate")


def check_mutants(tmp_path, count):
    sources = list(originals())
    outcomes = {"read": 0, "refused": 0}
    for seed in range(count):
        chance = random.Random(seed)
        content = mutate(chance.choice(sources), chance)
        try:
            image = read(tmp_path, content)
        except (BadFile, LimitExceeded):
            outcomes["refused"] += 1
        else:
            assert image.mode == "RGB"
            outcomes["read"] += 1
    assert min(outcomes.values()) > count // 10, outcomes


def test_mutants_are_read_or_refused(tmp_path):
    check_mutants(tmp_path, 400)


@pytest.mark.slow
def test_many_mutants_are_read_or_refused(tmp_path):
    check_mutants(tmp_path, 40_000)


def test_the_hash_is_that_of_the_decoded_bytes(tmp_path, monkeypatch):
    """What is remembered of an image by its hash must be of this image, whatever comes later."""
    Image.new("RGB", (4, 4), "red").save(path := tmp_path / "a.png")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    def once(named, limit, read=images.read_bytes):
        content = read(named, limit)
        Image.new("RGB", (4, 4), "blue").save(path)
        return content

    monkeypatch.setattr(images, "read_bytes", once)
    opened = open_image(str(path))
    assert (opened.image.getpixel((0, 0)), opened.sha256) == ((255, 0, 0), digest)


def test_endings_are_listed_by_use():
    assert IMAGES[:5] == (".jpg", ".jpeg", ".png", ".webp", ".tif") and SUFFIXES[0] == ".md"

import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import png
from PIL import Image

from vlprompt.data import open_picture, pictures
from vlprompt.errors import PictureError


def encoded(image, format="PNG", **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def noise(mode="RGB", size=(9, 7)):
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.fromarray(pixels if channels > 1 else pixels[:, :, 0], mode if mode != "P" else "L")


def test_paths_bytes_images_and_arrays_are_one_picture(tmp_path):
    image = noise()
    (tmp_path / "a.png").write_bytes(encoded(image))
    for given_ in (tmp_path / "a.png", str(tmp_path / "a.png"), encoded(image), image, np.asarray(image)):
        opened = open_picture(given_)
        assert type(opened) is Image.Image and opened.mode == "RGB"
        assert np.array_equal(np.asarray(opened), np.asarray(image))


def test_jpeg_is_decoded_as_pillow_does():
    data = encoded(noise(size=(40, 30)), "JPEG")
    assert np.array_equal(
        np.asarray(open_picture(data)), np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    )


@pytest.mark.parametrize(
    ("mode", "format"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("L", "PNG"), ("LA", "PNG"), ("RGBA", "WEBP")]
)
def test_modes_become_rgb(mode, format):
    image = open_picture(encoded(noise(mode), format))
    assert image.mode == "RGB" and image.size == (9, 7)


def test_sixteen_bits_are_scaled():
    values = np.array([[0, 257, 65535], [128 * 257, 1000, 30000]], dtype=np.uint16)
    for format in ("PNG", "TIFF"):
        pixels = np.asarray(open_picture(encoded(Image.fromarray(values), format)))
        assert np.array_equal(pixels[:, :, 0], np.rint(values / 257))
    assert np.array_equal(np.asarray(open_picture(values))[:, :, 1], np.rint(values / 257))


def test_floats_in_a_tiff():
    values = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    assert np.asarray(open_picture(encoded(Image.fromarray(values), "TIFF")))[0, :, 0].tolist() == [
        0,
        128,
        255,
    ]


def test_transparency_is_put_on_white():
    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    clear.putpixel((1, 0), (0, 0, 255, 255))
    for data in (encoded(clear), encoded(clear, "WEBP", lossless=True), encoded(clear, "GIF")):
        pixels = np.asarray(open_picture(data))[0]
        assert pixels[0].tolist() == [255, 255, 255]
        assert pixels[1].tolist() == [0, 0, 255]
    palette = noise("L").quantize(8)
    palette.info["transparency"] = 0
    data = encoded(palette, transparency=0)
    assert np.asarray(open_picture(data))[np.asarray(palette) == 0].min() == 255


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(format):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green", "blue")]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=50)
    red = np.asarray(open_picture(data))[0, 0]
    assert red[0] > 240 and red[1] < 15


def test_the_orientation_tag_is_applied_unless_told_otherwise():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(noise(size=(20, 10)), "JPEG", exif=exif)
    assert open_picture(data).size == (10, 20)
    assert open_picture(data, turn=False).size == (20, 10)


@settings(deadline=None, max_examples=40)
@given(cut=st.integers(0, 1), place=st.integers(8, 3000), byte=st.integers(0, 255))
def test_damaged_files_give_a_picture_or_a_picture_error(cut, place, byte):
    for format in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        data = bytearray(png(3, (24, 20), format))
        place = min(place, len(data) - 1)
        if cut:
            del data[place:]
        else:
            data[place] = byte
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own about odd TIFF tags
            try:
                assert open_picture(bytes(data), name="x").mode == "RGB"
            except PictureError as error:
                assert str(error).startswith("x: ")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "the file is empty"),
        (b"hello world", "not a picture that Pillow can read"),
        (png(1, (50, 50))[:900], "broken or cut off"),
        ("nowhere.png", "nowhere.png: cannot be read"),
        (None, "a NoneType is no picture"),
        (np.zeros((3, 8, 8), np.uint8), "channels come last"),
        (np.zeros((8, 8, 2), np.uint8), "8x8x2 is no picture"),
        (np.zeros((0, 8, 3), np.uint8), "is no picture"),
        (np.full((8, 8, 3), 200.0), "values from 0 to 1"),
        (np.full((8, 8, 3), np.nan), "values from 0 to 1"),
        (np.zeros((8, 8, 3), np.int64), "int64"),
    ],
)
def test_errors(value, message):
    with pytest.raises(PictureError, match=message):
        open_picture(value)


def test_arrays():
    assert np.asarray(open_picture(np.ones((4, 4), bool))).min() == 255
    assert np.asarray(open_picture(np.full((4, 4, 1), 0.5)))[0, 0].tolist() == [128, 128, 128]
    assert open_picture(np.zeros((4, 5, 4), np.uint8)).size == (5, 4)


def test_huge_pictures_are_refused_before_they_are_decoded(monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 1_000_000)
    data = encoded(Image.new("1", (2000, 600)))
    with pytest.raises(PictureError, match="2000 x 600 pixels"):
        open_picture(data)
    monkeypatch.undo()
    with pytest.raises(PictureError, match="more than 89 million"), warnings.catch_warnings():
        warnings.simplefilter("error")
        open_picture(encoded(Image.new("1", (20_000, 10_000))))

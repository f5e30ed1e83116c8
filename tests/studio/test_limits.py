"""What is refused: files that are no pictures, too large ones, too many, names that are none, other places."""

from __future__ import annotations

import pytest
from conftest import png

from vlprompt.errors import DataError, PictureError
from vlprompt.studio.limits import Limits, confined


def test_a_picture_passes(limits):
    limits.check_picture(png("red cat", 0), "a.png")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"#!/bin/sh\nrm -r /", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not a picture"),
        (png("red cat", 0)[:200], "broken"),
    ],
)
def test_what_is_no_picture(limits, data, why):
    with pytest.raises(PictureError, match=why):
        limits.check_picture(data, "a.png")


def test_too_many_bytes_and_pixels():
    data = png("red cat", 0, (1200, 1000))
    with pytest.raises(PictureError, match="1200 pixels are more than 1 million"):
        Limits(pixels=1_000_000).check_picture(data, "a.png")
    with pytest.raises(PictureError, match="at most 0 MB are taken"):
        Limits(picture_bytes=1000).check_picture(data, "a.png")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("  ripe_apple ", "ripe apple"),
        ("café\tau lait", "café au lait"),
        ("<b>x</b>", "<b>x</b>"),
        ("a\x00b", "a b"),
    ],
)
def test_names(limits, given, kept):
    assert limits.check_name(given) == kept


@pytest.mark.parametrize("name", [None, "", "  ", "\x07", "x" * 81])
def test_names_that_are_none(limits, name):
    with pytest.raises(DataError, match="name"):
        limits.check_name(name)


def test_places_outside(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "in-other"
    inside.mkdir(), outside.mkdir()
    (inside / "link").symlink_to(outside)
    assert confined(inside / "a.png", inside) == (inside / "a.png").resolve()
    for path in (outside, inside / "link" / "a.png", inside / ".." / "a.png", "/etc/passwd"):
        with pytest.raises(DataError, match="outside of"):
            confined(path, inside)

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import png

from vlprompt.backbones.preprocessing import Preprocessing
from vlprompt.data import open_picture
from vlprompt.errors import OptionError
from vlprompt.feeding.views import View, apply_view, draw_view, take_view, view_generator, view_key

sides = st.integers(1, 400)


@settings(deadline=None)
@given(width=sides, height=sides, seed=st.integers(0, 99), index=st.integers(0, 9))
def test_a_view_lies_inside_and_is_a_pure_function(width, height, seed, index):
    view = draw_view(width, height, view_generator(seed, "picture", index))
    assert view.width > 0 and view.height > 0 and view.left >= 0 and view.top >= 0
    assert view.left + view.width <= width and view.top + view.height <= height
    assert view == draw_view(width, height, view_generator(seed, "picture", index))


def test_views_differ_by_seed_picture_and_number():
    views = {
        draw_view(200, 100, view_generator(*key))
        for key in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]
    }
    assert len(views) == 4


def published_box(rng):
    """torchvision's RandomResizedCrop on a square of side 1, without rounding."""
    for _ in range(10):
        area, shape = rng.uniform(0.08, 1.0), math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        width, height = math.sqrt(area * shape), math.sqrt(area / shape)
        if width <= 1 and height <= 1:
            return width * height, width / height
    return 1.0, 1.0


def test_the_distribution_is_the_published_one():
    views = [draw_view(1000, 1000, view_generator(0, "p", index)) for index in range(4000)]
    ours = np.array([(view.width * view.height / 1e6, view.width / view.height) for view in views])
    rng = random.Random(0)
    theirs = np.array([published_box(rng) for _ in range(20000)])
    shares = np.linspace(0.05, 0.95, 19)
    assert np.abs(np.quantile(ours, shares, axis=0) - np.quantile(theirs, shares, axis=0)).max() < 0.03
    assert ours.min(axis=0) == pytest.approx([0.08, 0.75], abs=0.01)
    assert abs(np.mean([view.flip for view in views]) - 0.5) < 0.03
    left = np.array([view.left / (1000 - view.width) for view in views if view.width < 900])
    assert np.quantile(left, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.04)


def test_pictures_too_long_for_any_box_get_their_centre():
    view = draw_view(1000, 10, view_generator(0, "p", 0), scale=(1.0, 1.0))
    assert (view.left, view.top, view.width, view.height) == (493, 0, 13, 10)
    view = draw_view(10, 1000, view_generator(0, "p", 0), scale=(1.0, 1.0))
    assert (view.left, view.top, view.width, view.height) == (0, 493, 10, 13)


def test_views_of_a_picture():
    picture, how = open_picture(png(1, (40, 30))), Preprocessing(size=16)
    view = take_view(picture, how, 3, seed=1, identity="x")
    assert view.size == (16, 16) and view.mode == "RGB"
    assert np.array_equal(how(view), how.normalize(np.asarray(view)))  # nothing is resized twice
    assert np.array_equal(view, take_view(picture, how, 3, seed=1, identity="x"))
    assert np.array_equal(
        how.normalize(np.asarray(take_view(picture, how, "center", seed=1, identity="x"))), how(picture)
    )
    whole = View(0, 0, 40, 30, True)
    mirrored = np.asarray(apply_view(picture, whole, 16))[:, ::-1]
    assert np.array_equal(mirrored, apply_view(picture, whole._replace(flip=False), 16))
    for wrong in ("middle", -1, 1.5):
        with pytest.raises(OptionError, match="give a number from 0 on"):
            take_view(picture, how, wrong, seed=1, identity="x")


def test_keys_of_views():
    assert view_key("center", 1) == view_key("center", 2) == "center"
    assert len({view_key(0, 1), view_key(1, 1), view_key(0, 2)}) == 3

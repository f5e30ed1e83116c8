"""How new names stand beside learned ones."""

from __future__ import annotations

import pytest

from vlprompt.fitting.new_names import EACH_DOUBLING, for_new_names


def test_parts_that_speak_of_new_names_have_equal_shares():
    assert for_new_names(["bilinear_probe:10", "patch_map"], 8, 4).weights == {
        "bilinear_probe:10": 0.5,
        "patch_map": 0.5,
    }


@pytest.mark.parametrize(("pictures", "doublings"), [(5, 0), (10, 1), (80, 4), (3, 0)])
def test_the_offset_grows_with_the_pictures_of_a_class(pictures, doublings):
    """It is none at one picture of each, and where pictures of some class could not be read."""
    assert for_new_names(["zeroshot"], pictures, 5).offset == EACH_DOUBLING * doublings

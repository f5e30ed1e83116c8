"""What runs of one process leave each other in memory: the same numbers, no picture encoded twice, bytes within the limit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_data import picture_folder
from support import tiny_backbone

from vlprompt.data.opening import open_dataset
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import Encoder, Views
from vlprompt.feeding.recent_arrays import RecentArrays


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 40)), max_size=40), st.integers(0, 400))
def test_bytes_never_exceed_the_limit_and_what_is_found_is_what_was_put_last(entries, limit):
    held, last = RecentArrays(limit), {}
    for key, size in entries:
        last[key] = np.full(size, len(last), np.uint8)
        held.put(key, (last[key],))
        assert held.bytes <= limit
    found = {key: held.get(key) for key in last}
    assert held.bytes == sum(value[0].nbytes for value in found.values() if value is not None)
    for key, value in found.items():
        assert value is None or (value[0] == last[key]).all()


def test_what_was_asked_for_the_longest_ago_goes_first():
    held = RecentArrays(20)
    for key in "ab":
        held.put(key, (np.zeros(10, np.uint8),))
    held.get("a")
    held.put("c", (np.zeros(10, np.uint8),))
    assert held.get("a") is not None and held.get("c") is not None and held.get("b") is None


def test_it_holds_copies():
    held, array = RecentArrays(), np.zeros(3)
    held.put("a", (array,))
    array += 1
    assert (held.get("a")[0] == 0).all()


@pytest.mark.parametrize("needs", [{"features", "patch_states"}, {"features", "patches"}])
def test_a_second_run_encodes_nothing_again(tmp_path, monkeypatch, needs):
    picture_folder(tmp_path / "photos")
    dataset, backbone = open_dataset(tmp_path / "photos"), tiny_backbone(2)
    cache = FeatureCache(False, recent=RecentArrays())
    items = [item for part in dataset.splits.values() for item in part]
    first = Encoder(dataset, backbone, cache=cache).inputs(needs, items)
    assert len(first) == len(items)

    def never(*_):
        raise AssertionError("encoded again")

    monkeypatch.setattr(Encoder, "_run_tower", never)
    again = Encoder(dataset, backbone, cache=cache).inputs(needs, items)
    assert (again.features == first.features).all() and (again.patches == first.patches).all()
    with pytest.raises(AssertionError, match="encoded again"):  # another view is another picture
        Encoder(dataset, backbone, cache=cache).inputs(needs, items, Views(1, 7))

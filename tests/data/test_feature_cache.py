import multiprocessing
import os
import sqlite3
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from making import grid

from vlprompt.data import from_pictures, open_dataset
from vlprompt.errors import PictureError
from vlprompt.feeding.feature_cache import FeatureCache, default_directory, feature_key

KINDS = st.sampled_from(["<f2", "<f4", "<f8", "|u1", "<i4"])


@given(
    value=KINDS.flatmap(lambda kind: arrays(kind, array_shapes(min_dims=0, min_side=0, max_side=4))),
    key=st.text(),
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_put_is_got(tmp_path, value, key):
    with_key = FeatureCache(tmp_path)
    key = feature_key(backbone=key, precision="", preprocessing="", view="", content="", kind="")
    with_key.put(key, value)
    with_key.close()
    got = FeatureCache(tmp_path).get(key)
    assert got.dtype == value.dtype and got.shape == value.shape
    assert got.tobytes() == np.ascontiguousarray(value).tobytes()


def test_every_part_of_the_key_counts():
    names = ("backbone", "precision", "preprocessing", "view", "content", "kind")
    plain = dict.fromkeys(names, "a")
    keys = {feature_key(**plain)} | {feature_key(**{**plain, name: "b"}) for name in names}
    keys.add(feature_key(**{**plain, "backbone": "a\n1:a"}))
    assert len(keys) == 8


def test_many_small_vectors_and_repeated_keys(tmp_path):
    cache = FeatureCache(tmp_path)
    values = np.random.default_rng(0).standard_normal((3000, 16)).astype(np.float32)
    cache.put_many((str(number), value) for number, value in enumerate(values))
    got = cache.get_many([*map(str, range(3000)), "none", "0"])
    assert np.array_equal(np.stack(got[:3000]), values)
    assert got[3000] is None
    got[0][:] = 0  # the caller's own: neither the copy nor the cache changes
    assert np.array_equal(got[3001], values[0]) and np.array_equal(cache.get("0"), values[0])
    info = cache.info()
    assert info.entries == 3000 and info.bytes > 3000 * 64 and info.path.parent == tmp_path
    assert cache.clear().entries == 3000
    assert cache.info().entries == 0 and cache.info().bytes < 200_000 and cache.get("0") is None


def test_damaged_entries_are_dropped(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.put("a", np.ones(4, np.float32))
    cache.put("b", np.ones(4, np.float32))
    with sqlite3.connect(cache.path) as direct:
        direct.execute("UPDATE features SET value = ? WHERE key = 'a'", (np.zeros(4, np.float32).tobytes(),))
    assert cache.get("a") is None
    assert cache.get("b") is not None
    assert cache.info().entries == 1


def test_a_damaged_file_is_replaced_with_one_warning(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.put_many((str(n), np.ones(100, np.float32)) for n in range(100))
    path = cache.path
    cache.close()
    path.write_bytes(b"not a database at all" * 1000)
    cache = FeatureCache(tmp_path)
    with pytest.warns(RuntimeWarning, match="is damaged"):
        assert cache.get("1") is None
    cache.put("1", np.ones(3))
    assert cache.get("1").tolist() == [1, 1, 1]


def test_a_file_damaged_in_the_middle_never_gives_wrong_values(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.put_many((str(n), np.full(100, n, np.float32)) for n in range(300))
    cache.close()
    data = bytearray(cache.path.read_bytes())
    for place in range(5000, len(data), 3001):
        data[place : place + 40] = os.urandom(40)
    cache.path.write_bytes(data)
    cache = FeatureCache(tmp_path)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, value in enumerate(cache.get_many([str(n) for n in range(300)])):
            assert value is None or (value == number).all()


def test_an_unusable_folder_costs_one_warning(tmp_path, recwarn):
    (tmp_path / "file").write_text("in the way")
    cache = FeatureCache(tmp_path / "file" / "cache")
    for _ in range(3):
        cache.put("a", np.ones(2))
        assert cache.get("a") is None
    assert len(recwarn) == 1 and "going on without" in str(recwarn[0].message)
    assert cache.info().entries == 0


def test_a_full_disk_stops_writing_but_not_reading(tmp_path, recwarn):
    cache = FeatureCache(tmp_path)
    cache.put("a", np.ones(2))
    cache._store._connection.execute(
        f"PRAGMA max_page_count={cache._store._connection.execute('PRAGMA page_count').fetchone()[0]}"
    )
    for number in range(3):
        cache.put(f"big{number}", np.ones(100_000))
    assert len(recwarn) == 1 and "full" in str(recwarn[0].message)
    assert cache.get("a").tolist() == [1, 1] and cache.get("big0") is None


def test_the_oldest_entries_go_at_the_limit(tmp_path):
    cache = FeatureCache(tmp_path, limit=400_000)
    for number in range(40):
        cache.put(str(number), np.full(5000, number, np.float32))
    assert cache.get("0") is None and cache.get("39") is not None
    assert cache.info().entries < 25
    assert cache.path.stat().st_size < 600_000


def _fill(folder, start):
    cache = FeatureCache(folder)
    for number in range(start, start + 20):
        cache.put_many([(str(number), np.full(50, number))])


def test_two_processes_share_the_file(tmp_path):
    context = multiprocessing.get_context("spawn" if os.name == "nt" else "fork")
    workers = [context.Process(target=_fill, args=(tmp_path, start)) for start in (0, 20, 40)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    here = FeatureCache(tmp_path)
    assert all(
        (value == number).all() for number, value in enumerate(here.get_many([str(n) for n in range(60)]))
    )


def test_a_cache_opened_before_a_fork_works_after_it(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.put("a", np.ones(2))
    if not hasattr(os, "fork"):
        pytest.skip("no fork")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert all(value.tolist() == [1, 1] for value in pool.map(cache.get, ["a"] * 4))
    cache.put("b", np.zeros(2))
    assert cache.get("b").tolist() == [0, 0]


def test_content_hashes_are_remembered_until_the_file_changes(make, tmp_path, monkeypatch):
    root = make(grid("ab"))
    dataset = open_dataset(root)
    items = dataset.all_items
    time.sleep(0.1)  # what was written a moment ago may be written again within the same tick of the clock
    first = FeatureCache(tmp_path / "cache").content_hashes(dataset, items)
    assert first == [dataset.content_hash(item) for item in items]
    reads = []
    real = type(dataset).content_hash
    monkeypatch.setattr(
        type(dataset), "content_hash", lambda self, item: reads.append(item) or real(self, item)
    )
    again = FeatureCache(tmp_path / "cache")
    assert again.content_hashes(dataset, items) == first and reads == []
    changed = root / items[0].path
    changed.write_bytes(changed.read_bytes() + b"more")
    assert again.content_hashes(dataset, items)[1:] == first[1:] and reads == [items[0]]
    changed.unlink()
    with pytest.raises(PictureError):
        again.content_hash(dataset, items[0])


def test_pictures_in_memory_have_content_hashes_too(tmp_path):
    pixels = [np.full((4, 4, 3), value, np.uint8) for value in (0, 1, 1)]
    dataset = from_pictures(pixels, ["a", "b", "b"])
    hashes = FeatureCache(tmp_path).content_hashes(dataset, dataset.items("train"))
    assert hashes[0] != hashes[1] == hashes[2]


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "here"))
    assert default_directory() == tmp_path / "here"
    monkeypatch.setenv("VLPROMPT_CACHE", "off")
    cache = FeatureCache()
    cache.put("a", np.ones(1))
    assert cache.get("a") is None and cache.info().path is None
    monkeypatch.delenv("VLPROMPT_CACHE")
    assert default_directory().name in ("vlprompt", "cache")
    assert FeatureCache(False).get("a") is None

"""Features of picture collections as parquet shards."""

from __future__ import annotations

import numpy as np
import pytest

from vlprompt.collections.embedding import Loading, embed
from vlprompt.data.opening import open_dataset
from vlprompt.errors import OptionError, RunError
from vlprompt.feeding.inputs import Encoder

pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")


@pytest.fixture
def collection(place, tmp_path):
    """Paths of the test pictures and of a file that is none, and how to load the tiny backbone."""
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    paths = sorted(str(p) for p in (place / "pictures" / "test").rglob("*.png"))
    return [*paths[:3], str(broken), *paths[3:]], Loading(str(place / "backbone"), "cpu")


def test_shards_hold_features_paths_and_errors(collection, place, tmp_path):
    paths, loading = collection
    found = embed(paths, tmp_path / "out", loading, shard=4, dtype="float32")
    assert (found.shards, found.pictures, found.done, found.errors) == (3, 9, 9, 1)
    tables = [pq.read_table(tmp_path / "out" / f"part-0000{i}.parquet") for i in range(3)]
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["path"] for row in rows] == paths
    assert rows[3]["feature"] is None and "broken.png" in rows[3]["error"]
    assert all(row["error"] is None for i, row in enumerate(rows) if i != 3)
    from vlprompt.collections.embedding import backbone_of

    dataset = open_dataset(place / "pictures")
    known = {
        i.path: f
        for i, f in zip(
            dataset.items("test"),
            Encoder(dataset, backbone_of(loading)).features(dataset.items("test")).features[0].numpy(),
            strict=True,
        )
    }
    for row in rows[:3]:
        inside = row["path"].split("/pictures/")[1]
        np.testing.assert_allclose(row["feature"], known[inside], atol=1e-6)


def test_what_is_there_is_not_done_again(collection, tmp_path):
    paths, loading = collection
    out = tmp_path / "out"
    embed(paths, out, loading, shard=4)
    assert pq.read_table(out / "part-00000.parquet").schema.field("feature").type.value_type == "halffloat"
    (out / "part-00001.parquet").unlink()
    kept = (out / "part-00000.parquet").stat().st_mtime_ns
    again = embed(paths, out, loading, shard=4)
    assert again.done == 4 and (out / "part-00000.parquet").stat().st_mtime_ns == kept
    with pytest.raises(RunError, match="differs in pictures, paths"):
        embed(paths[1:], out, loading, shard=4)
    assert embed(paths[1:], out, loading, shard=4, overwrite=True).done == 8
    with pytest.raises(OptionError, match="float16 or float32"):
        embed(paths, out, loading, dtype="int8")

from dataclasses import fields

import numpy as np
import pytest
import torch
from small_data import picture_folder
from small_towers import embedded_kind
from support import tiny_backbone

from vlprompt.data.opening import open_dataset
from vlprompt.feeding.feature_cache import FeatureCache
from vlprompt.feeding.inputs import Encoder, PixelInputs, StemInputs, Views, to_pixels
from vlprompt.feeding.views import take_view
from vlprompt.prompts.interpreters.fast import Fast
from vlprompt.prompts.tokens import ImagePrompt


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture
def dataset(tmp_path):
    return open_dataset(picture_folder(tmp_path / "data", {"train": 2, "test": 1}))


def counted(backbone, monkeypatch):
    """A list that grows by the number of pictures that the image tower sees."""
    seen, own = [], backbone.image_features
    monkeypatch.setattr(backbone, "image_features", lambda pixels: (seen.append(len(pixels)), own(pixels))[1])
    return seen


def test_pixels_equal_the_preprocessing_bit_for_bit(backbone):
    crops = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    found = to_pixels(crops, backbone.preprocessing, torch.device("cpu"))
    assert np.array_equal(found.numpy(), backbone.preprocessing.normalize(crops))


def test_features_are_those_of_the_named_view(backbone, dataset):
    items = dataset.items("train")
    inputs = Encoder(dataset, backbone).features(items, Views(3, seed=5))
    crop = take_view(
        dataset.load(items[4]), backbone.preprocessing, 2, seed=5, identity=dataset.content_hash(items[4])
    )
    pixels = torch.from_numpy(backbone.preprocessing.normalize(np.asarray(crop)))[None]
    batch = inputs.batch(torch.tensor([4]), 2)
    torch.testing.assert_close(batch.features, backbone.image_features(pixels), atol=1e-5, rtol=0)
    assert inputs.features.shape == (3, len(items), backbone.embed_dim)
    assert inputs.labels.tolist() == [item.label for item in items]


def test_the_disk_cache_spares_the_tower_and_gives_the_same(backbone, dataset, tmp_path, monkeypatch):
    seen = counted(backbone, monkeypatch)
    items = dataset.items("train")
    first = Encoder(dataset, backbone, cache=FeatureCache(tmp_path / "cache")).features(items, Views(2))
    assert sum(seen) == 2 * len(items)
    second = Encoder(dataset, backbone, cache=FeatureCache(tmp_path / "cache")).features(items, Views(2))
    assert sum(seen) == 2 * len(items)
    assert torch.equal(first.features, second.features)
    Encoder(dataset, backbone, cache=FeatureCache(tmp_path / "cache")).features(items, Views(2, seed=9))
    assert sum(seen) == 4 * len(items)


def test_pictures_beyond_the_budget_are_decoded_per_batch(backbone, dataset):
    items = dataset.items("train")
    held = Encoder(dataset, backbone).pixels(items, Views(2, seed=1))
    late = Encoder(dataset, backbone, budget=100).pixels(items, Views(2, seed=1))
    assert held.crops is not None and late.crops is None
    indices = [torch.tensor([0, 3]), torch.tensor([7]), torch.tensor([2, 1]), torch.tensor([5])]
    for a, b in zip(held.stream(indices, 1), late.stream(indices, 1), strict=True):
        assert torch.equal(a.pixels, b.pixels)


def test_patches_are_kept_or_made_per_batch(backbone, dataset):
    items = dataset.items("test")
    held = Encoder(dataset, backbone).inputs("patches", items)
    late = Encoder(dataset, backbone, budget=100).inputs("patches", items)
    index = torch.tensor([1, 3])
    a, b = held.batch(index), late.batch(index)
    assert a.patches.shape == (2, backbone.vit.sizes.patches, backbone.embed_dim)
    torch.testing.assert_close(a.patches, b.patches, atol=1e-5, rtol=0)
    torch.testing.assert_close(a.features, b.features, atol=1e-5, rtol=0)


@pytest.mark.parametrize("needs", ["features", "pixels"])
def test_broken_pictures_are_counted_and_named(backbone, tmp_path, needs):
    folder = picture_folder(tmp_path / "data", {"train": 2, "test": 1})
    broken = folder / "train" / "red cat" / "1.png"
    broken.write_bytes(broken.read_bytes()[:200])
    dataset, records = open_dataset(folder), []
    inputs = Encoder(dataset, backbone, emit=records.append).inputs(needs, dataset.items("train"), Views(1))
    assert len(inputs) == 7 and len(inputs.labels) == 7
    assert inputs.skipped[0][0].endswith("red cat/1.png")
    assert [r["path"] for r in records if r["event"] == "skipped"] == [inputs.skipped[0][0]]


def test_a_stem_is_run_once_and_gives_what_the_pixels_give(dataset):
    backbone = embedded_kind()
    items, ran = dataset.items("train"), []
    backbone.image.stem.register_forward_hook(lambda *_: ran.append(1))
    encoder = Encoder(dataset, backbone)
    inputs = encoder.inputs({"pixels", "features"}, items, Views(2))
    assert isinstance(inputs, StemInputs) and ran
    ran.clear()
    index = torch.arange(len(items))
    prompt = ImagePrompt(torch.full((2, 96), 0.2))
    batch = inputs.batch(index, 1)
    found = Fast(backbone).image(batch.pixels, prompt)
    assert not ran
    crops = [
        take_view(dataset.load(i), backbone.preprocessing, 1, seed=0, identity=dataset.content_hash(i))
        for i in items
    ]
    pixels = torch.from_numpy(np.stack([backbone.preprocessing.normalize(np.asarray(c)) for c in crops]))
    torch.testing.assert_close(found, Fast(backbone).image(pixels, prompt), atol=2e-3, rtol=0)
    torch.testing.assert_close(batch.features, backbone.image_features(pixels), atol=1e-5, rtol=0)
    assert encoder.inputs({"pixels"}, items).batch(index).features is None
    few = Encoder(dataset, backbone, budget=100)
    assert isinstance(few.inputs({"pixels"}, items), PixelInputs)
    assert len(encoder.inputs({"pixels"}, [])) == 0


def same(a, b):
    """Whether two batches hold the same tensors, of which some may be missing in both."""
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)]
    return all((x is None) == (y is None) and (x is None or torch.equal(x, y)) for x, y in pairs)


@pytest.mark.parametrize(
    "needs",
    [{"features"}, {"patches"}, {"patch_states"}, {"pixels"}, {"pixels", "features"}],
    ids=lambda needs: "+".join(sorted(needs)),
)
@pytest.mark.parametrize("kept", ["kept", "decoded late"])
@pytest.mark.parametrize("tower", ["plain", "with a stem"])
def test_a_part_holds_what_the_whole_holds_of_these_pictures(backbone, dataset, needs, kept, tower):
    """Whatever kind of inputs it is: cross-validation learns from parts, and is judged by parts."""
    if tower == "with a stem":
        backbone = embedded_kind()
    encoder = Encoder(dataset, backbone, **({} if kept == "kept" else {"budget": 100}))
    whole = encoder.inputs(needs, dataset.items("train"), Views(2, seed=1))
    index = torch.tensor([5, 0, 3])
    part = whole.part(index)
    assert len(part) == 3 and part.labels.tolist() == whole.labels[index].tolist()
    for view in (0, 1):
        assert same(part.batch(torch.arange(3), view), whole.batch(index, view))
        assert same(part.part(torch.tensor([2])).batch(torch.tensor([0]), view), whole.batch(index[2:], view))

import pytest
import torch
from small_data import picture_folder
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.opening import open_dataset
from vlprompt.data.task import Task
from vlprompt.errors import OptionError
from vlprompt.methods.base import Batch
from vlprompt.protocols.class_incremental import (
    FACTS,
    backward_transfer,
    class_incremental,
    forgetting,
    session_labels,
)
from vlprompt.runs.run import Run

MORE = {
    "train": {"epochs": 1, "batch": 4, "views": 1, "warmup_epochs": 0},
    "cache": False,
    "shots": 2,
    "seeds": [1],
}
SMALL = {"maple": {"depth": 2}, "maple+lamm": {"depth": 2}}


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_dataset(picture_folder(tmp_path_factory.mktemp("data")))


@pytest.mark.parametrize("name", methods.names())
def test_every_method_runs_or_says_why_not(backbone, data, name):
    try:
        (record,) = class_incremental(data, name, backbone, sessions=2, options=SMALL.get(name), **MORE)
    except OptionError as error:
        assert name in str(error) and len(str(error)) > len(name) + 30
        return
    assert record["protocol"] == "class_incremental" and record["method"] == name
    for values in (record, record["zero_shot"]):
        assert all(0 <= values[f"session_{i}"] <= 100 for i in (1, 2))
        assert values["average"] == (values["session_1"] + values["session_2"]) / 2
        assert values["final"] == values["session_2"]
        assert set(FACTS.value_names) <= set(values)
    assert [len(row) for row in record["matrix"]] == [1, 2]
    assert record["classes"] == [["blue sea", "green dog"], ["grey fog", "red cat"]]
    if name.endswith("lamm"):  # nothing may change, not a bit
        assert record["text_change"] == 0.0
        if "tft" not in name:  # whose picture features look at all classes
            assert record["own_forgetting"] == 0.0
    elif name in ("coop", "cocoop", "maple"):
        assert record["text_change"] > 1e-4


def test_runs_of_sessions_are_saved_and_found_again(backbone, data, tmp_path):
    first = next(class_incremental(data, "coop+lamm", backbone, sessions=3, out=tmp_path, **MORE))
    told = []
    again = next(
        class_incremental(
            data, "coop+lamm", backbone, sessions=3, out=tmp_path, on_record=told.append, **MORE
        )
    )
    assert not any(record["event"] == "step" for record in told)
    assert {k: again[k] for k in FACTS.value_names} == {k: first[k] for k in FACTS.value_names}
    runs = [Run.load(tmp_path / "seed1" / f"session{i}", backbone) for i in (1, 2, 3)]
    assert [len(run.class_names) for run in runs] == [2, 3, 4]
    assert runs[2].learned.kept is not None and len(runs[2].learned.kept) == 3
    assert runs[2].scores["test"]["accuracy"] == first["session_3"]


def test_later_sessions_see_their_own_pictures_only(backbone, data, tmp_path):
    list(class_incremental(data, "coop", backbone, sessions=2, out=tmp_path, **MORE))
    second = Run.load(tmp_path / "seed1" / "session2", backbone).info
    assert second.data.train == 2 * 2 and second.data.test == 8
    assert second.after == Run.load(tmp_path / "seed1" / "session1", backbone).info.settings


@pytest.mark.parametrize("options", [{}, {"reference": "published_code"}])
@pytest.mark.parametrize("name", ["coop+lamm", "cocoop+lamm"])
def test_lamm_extends_twice_without_touching_what_is_old(backbone, name, options):
    features = torch.nn.functional.normalize(
        torch.randn(3, backbone.embed_dim, generator=torch.Generator().manual_seed(3)), dim=-1
    )
    batch = Batch(features=features)

    def text(method):
        with torch.no_grad():
            return method.eval()(batch).text

    def learn(method, labels):
        method.train()
        own = [p for p in method.parameters() if p.requires_grad]
        method.total_loss(method.loss(method(batch), torch.tensor(labels))).backward()
        assert all(p.grad is not None for p in own)
        with torch.no_grad():
            for p in own:
                p -= p.grad
        return len(own)

    method = methods.load(name).build(backbone, Task(("cat", "golden retriever"), shots=2), options)
    assert learn(method, [0, 1, 0]) > 1
    first = text(method)
    second = method.extend(["a very long name of seven tokens", "x-ray fish"])
    assert torch.equal(text(method), first)  # the old one is left alone
    assert learn(second, [2, 3, 2]) == 1
    found = text(second)
    assert torch.equal(found[..., :2, :], first)
    third = second.extend(["dog"])
    assert learn(third, [4, 4, 4]) == 1
    assert torch.equal(text(third)[..., :4, :], found)
    again = methods.load(name).build(backbone, third.task, options)
    again.load_state_dict(third.state_dict())
    assert torch.equal(text(again), text(third))
    assert again.trainable_parameters() == third.trainable_parameters()
    chosen = again.for_classes(["dog", "golden retriever", "cat"])
    torch.testing.assert_close(text(chosen), text(third)[..., [4, 1, 0], :], atol=1e-5, rtol=0)


def test_a_context_per_class_cannot_be_extended(backbone, data):
    with pytest.raises(OptionError, match="further classes"):
        next(class_incremental(data, "coop", backbone, sessions=2, options={"class_specific": True}, **MORE))


def test_values_follow_their_formulas():
    matrix = [[80.0], [70.0, 60.0], [50.0, 65.0, 90.0]]
    assert forgetting(matrix) == ((80 - 50) + (60 - 65)) / 2
    assert backward_transfer(matrix) == ((50 - 80) + (65 - 60)) / 2


def test_sessions(data):
    assert session_labels(data, 3) == [[0, 1], [2], [3]]
    assert session_labels(data, [["red cat", "blue sea"], ["grey fog"]]) == [[3, 0], [2]]
    for wrong in (1, 4, [["red cat", "red cat"], ["grey fog"]], [["red cat"], ["grey fog"]]):
        with pytest.raises(OptionError, match="sessions"):
            session_labels(data, wrong)
    with pytest.raises(OptionError, match="red cat"):
        session_labels(data, [["red cats", "blue sea"], ["grey fog"]])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("proda+lamm", {}),
        ("tft+lamm", {}),
        ("ctp+lamm", {}),
        ("ctp+lamm", {"placement": "feature"}),
        ("ctp+tft+lamm", {}),
        ("ctp+tft+lamm", {"placement": "feature"}),
    ],
)
def test_texts_of_each_session_are_those_of_all_classes_at_once(backbone, name, options):
    features, patches = backbone.vit.patch_features(
        torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    )
    batch = Batch(features=features, patches=patches)
    method = methods.load(name).build(backbone, Task(("cat", "golden retriever"), shots=2), options)
    with torch.no_grad():
        for p in method.parameters():  # TFT and CTP start as if they were not there
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2))
    method = method.extend(["a very long name of seven tokens"]).extend(["dog", "fog"]).eval()
    with torch.no_grad():
        apart, seen = method(batch), method.see(batch)
        texts = [method.place(text) for text in method.base.texts(seen)]
        at_once = method.base.compare(seen, method.read(texts))
    for part in ("logits", "text", "image"):
        torch.testing.assert_close(getattr(apart, part), getattr(at_once, part), atol=1e-4, rtol=0)

"""Words near learned vectors, and names whose tokens were moved on purpose."""

import pytest
import torch
from support import tiny_backbone

from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.report.label_movement import label_tokens_of, movement
from vlprompt.report.nearest_words import Vocabulary

NAMES = ("llama", "golden retriever", "bird's nest")


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone(3)


@pytest.fixture(scope="module")
def vocabulary(backbone):
    return Vocabulary(backbone)


def vector_of(vocabulary, word):
    return vocabulary.vectors[vocabulary.words.index(word)]


def lamm(backbone, name="coop+lamm"):
    return methods.load(name).build(
        backbone, Task(NAMES, shots=2), {"context_tokens": 2} if "coop" in name else {}
    )


def test_a_word_is_nearest_to_itself_and_its_distance_is_euclidean(vocabulary):
    llama, alpaca = vector_of(vocabulary, "llama"), vector_of(vocabulary, "alpaca")
    (first,), (other,) = vocabulary.nearest(torch.stack([llama, alpaca]), 1)
    assert (first.word, other.word) == ("llama", "alpaca")
    assert first.distance == pytest.approx(0, abs=1e-5)
    near = vocabulary.nearest(llama[None], 5, without="llama")[0]
    assert "llama" not in [n.word for n in near] and [n.distance for n in near] == sorted(
        n.distance for n in near
    )
    assert near[0].distance == pytest.approx(
        float((vector_of(vocabulary, near[0].word) - llama).norm()), rel=1e-4
    )
    assert vocabulary.gap() > 0


def test_words_are_whole(vocabulary, backbone):
    assert {"llama", "alpaca", "photo"} <= set(vocabulary.words)
    assert all(len(word) > 1 and word.isalpha() for word in vocabulary.words)


def test_a_name_that_was_moved_on_purpose_is_found(backbone, vocabulary):
    method = label_tokens_of(lamm(backbone))
    with torch.no_grad():
        method.label_tokens[0, 0] = vector_of(vocabulary, "alpaca") * 0.9 + method.label_tokens[0, 0] * 0.1
    first, *others = movement(method, vocabulary)
    assert first.name == first.token == "llama"
    assert first.after[0].word == "alpaca"
    assert "llama" not in [near.word for near in first.before + first.after]
    assert first.distance == pytest.approx(first.own) and first.share > 0.5
    assert all(one.distance == pytest.approx(0, abs=1e-6) for one in others)


def test_of_a_name_with_several_tokens_the_one_that_moved_is_named(backbone, vocabulary):
    method = label_tokens_of(lamm(backbone, "lamm"))
    with torch.no_grad():
        method.label_tokens[1, 1] += 1.0
    first = movement(method, vocabulary)[0]
    assert (first.name, first.token) == ("golden retriever", "retriever")


def test_methods_without_label_tokens_have_none(backbone):
    assert label_tokens_of(methods.load("coop").build(backbone, Task(NAMES), {})) is None


@pytest.mark.parametrize("name", methods.names())
def test_learned_context_lies_in_the_space_of_words(backbone, name):
    method = methods.load(name).build(backbone, Task(NAMES, shots=2))
    context = getattr(method, "base", method).learned_context()
    if context is None:
        assert name.split("+")[0] in (
            "zeroshot",
            "linear_probe",
            "bilinear_probe",
            "patch_map",
            "tip_adapter",
            "tip_adapter_f",
            "vpt",
            "lamm",
            "blend",
            "mmrl",
            "mmrlpp",
            "clip_lora",
        )
    else:
        assert (
            context.dim() in (2, 3) and context.shape[-1] == backbone.text_width and not context.requires_grad
        )

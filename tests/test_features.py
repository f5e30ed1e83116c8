"""Features for other programs: equal to what the plain interpreter gives, and to what the run uses itself."""

import numpy as np
import pytest
import torch
from small_data import pictures_and_labels
from support import run_info, tiny_backbone

import vlprompt
from vlprompt import methods
from vlprompt.data.task import Task
from vlprompt.errors import OptionError, PictureError
from vlprompt.estimator import PromptClassifier
from vlprompt.prompts.interpreters.plain import Plain
from vlprompt.prompts.tokens import TextPrompt
from vlprompt.prompts.words import template_prompt
from vlprompt.runs.run import Run
from vlprompt.runs.run_features import encode_text_embeddings

NAMES = ("cat", "golden retriever", "bird's nest")
SEVERAL = 3


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone(2)


def run_of(backbone, name, **options):
    method = methods.load(name).build(backbone, Task(NAMES, shots=2), options).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in method.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.05)
    return Run(method, backbone, run_info(method=name, class_names=list(method.task.class_names)))


@pytest.mark.parametrize("deep", [False, True])
def test_soft_embeddings_are_encoded_as_the_plain_interpreter_does(backbone, deep):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return (torch.randn(*shape, backbone.text_width, generator=generator) * 0.05).requires_grad_(True)

    prefix, suffix, lengths = draw(2, 4), draw(SEVERAL, 6), (6, 3, 5)
    blocks = [draw(2), draw(2)] if deep else []
    found = encode_text_embeddings(backbone, prefix, suffix, lengths=lengths, deep=blocks)
    wanted = Plain(backbone).text(TextPrompt(prefix, suffix, lengths, blocks))
    assert found.shape == (2, SEVERAL, backbone.embed_dim)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, SEVERAL))
    (gradient,) = torch.autograd.grad(found.square()[..., 0].sum(), prefix, retain_graph=True)
    (expected,) = torch.autograd.grad(wanted.square()[..., 0].sum(), prefix)
    torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-3)


def test_embeddings_of_words_give_the_features_of_the_words(backbone):
    prompt = template_prompt(backbone, NAMES, "a photo of a {}.")
    found = encode_text_embeddings(backbone, prompt.prefix[0], prompt.suffix, lengths=prompt.lengths)
    plain = backbone.text_features([f"a photo of a {name}." for name in NAMES])
    torch.testing.assert_close(found[0], plain, atol=1e-5, rtol=1e-4)
    single = encode_text_embeddings(backbone, prompt.prefix[0], prompt.suffix[0, : prompt.lengths[0]])
    torch.testing.assert_close(single[0, 0], plain[0], atol=1e-5, rtol=1e-4)
    assert vlprompt.encode_text_embeddings is encode_text_embeddings


def test_learned_prompts_feed_it(backbone):
    run = run_of(backbone, "maple")
    (text,) = run.method.texts()
    found = encode_text_embeddings(backbone, text.prefix, text.suffix, lengths=text.lengths, deep=text.deep)
    np.testing.assert_allclose(found[0].detach().numpy(), run.text_features(), atol=1e-5)


def test_shapes_that_do_not_fit_are_refused(backbone):
    d = backbone.text_width
    good = torch.zeros(3, d), torch.zeros(2, 4, d)
    for prefix, suffix, more, said in (
        (torch.zeros(3, d + 1), good[1], {}, "prefix is"),
        (good[0], torch.zeros(2, 0, d), {}, "suffix is"),
        (*good, {"lengths": (4,)}, "lengths is"),
        (*good, {"lengths": (4, 5)}, "lengths is"),
        (good[0], torch.zeros(2, 90, d), {}, "more than the 77"),
        (*good, {"deep": [torch.zeros(3, d)]}, "deep is"),
        (*good, {"deep": [torch.zeros(1, d)] * 9}, "too many"),
    ):
        with pytest.raises(OptionError, match=said):
            encode_text_embeddings(backbone, prefix, suffix, **more)


def test_texts_of_any_length(backbone):
    found = backbone.text_features(["a", "a cat " * 30, "snake_case"])
    assert found.shape == (3, backbone.embed_dim) and torch.isfinite(found).all()
    torch.testing.assert_close(found[:1], backbone.text_features(["a"]), atol=1e-5, rtol=1e-4)
    assert backbone.text_features([]).shape == (0, backbone.embed_dim)
    with pytest.raises(OptionError, match="too long"):
        backbone.text_features(["a cat " * 100])
    with pytest.raises(OptionError, match="a list"):
        backbone.text_features("a cat")


@pytest.mark.parametrize("name", ["coop+lamm", "maple", "cocoop", "ctp+tft", "proda"])
def test_a_run_gives_the_features_that_its_logits_are_made_of(backbone, name):
    run = run_of(backbone, name)
    pictures, _ = pictures_and_labels(2)
    images, texts = run.image_features(pictures), run.text_features(pictures)
    assert images.shape == (len(pictures), backbone.embed_dim) and images.dtype == np.float32
    rows = texts if texts.ndim == 3 else np.broadcast_to(texts, (len(pictures), *texts.shape))
    logits = backbone.logit_scale * np.einsum("nd,ncd->nc", images, rows)
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(
        shifted / shifted.sum(1, keepdims=True), run.probabilities(pictures), atol=1e-4
    )
    if texts.ndim == 3:
        with pytest.raises(OptionError, match="give pictures"):
            run.text_features()
    else:
        np.testing.assert_allclose(run.text_features(), texts, atol=1e-6)
    assert run.image_features([]).shape == (0, backbone.embed_dim)
    with pytest.raises(PictureError):
        run.image_features([b"no picture"])


def test_a_classifier_gives_them_in_the_order_of_its_labels(backbone):
    pictures, _ = pictures_and_labels(1)
    own = PromptClassifier("zeroshot", backbone, classes={"10": "zebra", "9": "ant"}, cache=False)
    own.fit(pictures, ["10", "9", "9", "10"])
    assert own.classes_.tolist() == ["10", "9"]
    wanted = backbone.text_features(["a photo of a zebra.", "a photo of a ant."])
    np.testing.assert_allclose(own.text_features(), wanted.numpy(), atol=1e-5)
    np.testing.assert_allclose(own.image_features(pictures), own.run_.image_features(pictures))

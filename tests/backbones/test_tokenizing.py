from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlprompt.backbones import text_cleaning as cleaning
from vlprompt.backbones.tokenizing import clip_tokenizer, clip_vocabulary, tokenizer_from_json
from vlprompt.errors import BackboneError, OptionError

RECORDED = json.loads((Path(__file__).parents[1] / "parity" / "tokens.json").read_text(encoding="utf-8"))


@pytest.fixture(params=["ftfy", "without ftfy"])
def cleaned_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "ftfy":
        pytest.importorskip("ftfy", reason="ftfy is not installed")
    else:
        monkeypatch.setattr(cleaning, "ftfy", None)


@pytest.mark.usefixtures("cleaned_by")
@pytest.mark.parametrize("case", RECORDED["strings"], ids=lambda case: ascii(case["text"][:24]))
def test_recorded_ids(case: dict) -> None:
    tokenizer = clip_tokenizer()
    if "ids" in case:
        assert tokenizer.encode(case["text"]) == case["ids"]
        assert tokenizer.end_position(case["ids"]) == case["argmax"]
        assert tokenizer.count(case["text"]) == len(case["ids"]) - 2
    else:
        with pytest.raises(OptionError, match="too long") as error:
            tokenizer.encode(case["text"])
        assert case["text"] in str(error.value)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20))
def test_never_fails_on_short_text(text: str) -> None:
    tokenizer = clip_tokenizer(512)
    ids = tokenizer.encode(text)
    assert (ids[0], ids[-1]) == (tokenizer.start_id, tokenizer.end_id)
    assert ids[tokenizer.end_position(ids)] == max(ids)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="ascii", exclude_characters="&<>|"), max_size=20))
def test_the_stand_in_for_ftfy_agrees_on_ascii(text: str) -> None:
    ftfy = pytest.importorskip("ftfy", reason="ftfy is not installed")
    assert cleaning.repair(text).split() == ftfy.fix_text(text).split()


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="latin-1", categories=["L", "N", "P", "S"]), max_size=12))
def test_misread_text_is_repaired(text: str) -> None:
    """UTF-8 bytes read as Windows-1252, the commonest damage."""
    try:
        misread = text.encode("utf-8").decode("cp1252")
    except UnicodeError:
        return
    if misread != text and "&" not in text:
        assert cleaning.repair(misread) == cleaning.repair(text)


def test_decode() -> None:
    tokenizer = clip_tokenizer()
    assert tokenizer.decode(tokenizer.encode("A photo of a café.")) == "a photo of a café ."
    assert tokenizer.decode([tokenizer.encode("cat")[1]]) == "cat"


def test_vocabulary_size_and_ends() -> None:
    tokenizer = clip_tokenizer()
    assert (tokenizer.start_id, tokenizer.end_id) == (RECORDED["start_id"], RECORDED["end_id"])
    assert tokenizer.vocabulary == len(clip_vocabulary()) == 49408
    assert tokenizer.context_length == RECORDED["context_length"]


def test_fingerprint_depends_on_length() -> None:
    assert clip_tokenizer().fingerprint == clip_tokenizer(77).fingerprint != clip_tokenizer(32).fingerprint


def own_tokenizer(path: Path, words: list[str], around: bool = True) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: i for i, word in enumerate(["<bos>", "<eos>", "<unk>", *words])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    if around:
        core.post_processor = processors.TemplateProcessing(
            single="<bos> $A <eos>", special_tokens=[("<bos>", 0), ("<eos>", 1)]
        )
    core.save(str(path))
    return path


def test_own_vocabulary(tmp_path: Path) -> None:
    tokenizer = tokenizer_from_json(own_tokenizer(tmp_path / "t.json", ["cat", "dog"]), context_length=4)
    assert tokenizer.encode("cat dog") == [0, 3, 4, 1]
    assert tokenizer.end_position([0, 3, 4, 1]) == 3, "the end token, though its id is not the highest"
    assert tokenizer.decode([0, 3, 4, 1]) == "cat dog"
    with pytest.raises(OptionError, match="cat dog cat"):
        tokenizer.encode("cat dog cat")


def test_ends_from_elsewhere(tmp_path: Path) -> None:
    path = own_tokenizer(tmp_path / "t.json", ["cat"], around=False)
    assert tokenizer_from_json(path, start_id=0, end_id=1).encode("cat") == [0, 3, 1]
    with pytest.raises(BackboneError, match="startoftext"):
        tokenizer_from_json(path)


def test_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(BackboneError, match="t.json"):
        tokenizer_from_json(tmp_path / "t.json")


def test_huggingface_file_of_clip_gets_clip_rules(tmp_path: Path) -> None:
    """Hugging Face's own file neither unescapes HTML nor repairs text."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from vlprompt.backbones.tokenizing import clip_merges

    peer = transformers.CLIPTokenizer(vocab=clip_vocabulary(), merges=clip_merges())
    peer.save_pretrained(tmp_path)
    ours = tokenizer_from_json(tmp_path / "tokenizer.json")
    assert ours.fingerprint == clip_tokenizer().fingerprint
    for text in ["a photo of a cat.", "O'Hare 737-200", "caf\u00e9 \U0001f600"]:
        assert ours.encode(text) == peer(text)["input_ids"]

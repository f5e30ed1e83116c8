"""A small vocabulary in the form of CLIP's: lower-cased byte-level BPE with `</w>` at word ends."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

START, END = "<|startoftext|>", "<|endoftext|>"
VOCABULARY = 7168
LENGTH = 77
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def _parts(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer


def _alphabet() -> list[str]:
    """One character per byte in CLIP's order: printable bytes first, the others after them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def train(texts: Iterable[str], size: int = VOCABULARY) -> Tokenizer:
    """Learn merges from `texts`; ids are bytes, bytes at a word's end, merges, start, end."""
    learner = _parts(Tokenizer(models.BPE(end_of_word_suffix="</w>")))
    alphabet = _alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size - 2,
        end_of_word_suffix="</w>",
        initial_alphabet=alphabet,
        show_progress=False,
        min_frequency=2,
    )
    learner.train_from_iterator(texts, trainer)
    merges = [tuple(m) for m in json.loads(learner.to_str())["model"]["merges"]]
    # Every byte also gets its word-end form, whether seen or not: no text is ever unknown.
    vocabulary = alphabet + [c + "</w>" for c in alphabet]
    merges = merges[: size - 2 - len(vocabulary)]
    vocabulary += ["".join(m) for m in merges] + [START, END]
    ids = {token: i for i, token in enumerate(dict.fromkeys(vocabulary))}
    assert len(ids) == len(vocabulary) == size
    tokenizer = _parts(
        Tokenizer(
            models.BPE(ids, merges, end_of_word_suffix="</w>", continuing_subword_prefix="", unk_token=END)
        )
    )
    tokenizer.add_special_tokens(
        [AddedToken(START, special=True, normalized=False), AddedToken(END, special=True, normalized=False)]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, ids[END]), (START, ids[START]), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the four files that `transformers` reads, and CLIP's older two."""
    tokenizer.save(str(folder / "tokenizer.json"))
    model = json.loads(tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in model["merges"]), "utf-8"
    )
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": LENGTH,
        "do_lower_case": True,
        "add_prefix_space": False,
    }
    config |= {"errors": "replace", "clean_up_tokenization_spaces": False} | special
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

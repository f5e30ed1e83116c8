"""From texts to features: each text once, those behind one prefix in one pass, and what does not learn out of memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor

from vlprompt.backbones.towers.changes import drops
from vlprompt.backbones.towers.transformer import normalise
from vlprompt.prompts.interpreters.fixed import fixed_texts
from vlprompt.prompts.interpreters.interpreter import Interpreter
from vlprompt.prompts.tokens import FrozenText, Text, TextPrompt, join_rows
from vlprompt.prompts.words import spaced, template_prompt


def read(interpreter: Interpreter, texts: Sequence[Text], keep: bool = True) -> list[Tensor]:
    """Unit-length features of each text, [G, C, d] (G counts its groups and repeats; C its classes or rows).

    keep: remember what prompts without gradients give. An interpreter that shares nothing remembers nothing.
    """
    found: dict[int, Tensor] = {}
    passes: dict[tuple[int, ...], list[TextPrompt]] = {}
    for text in {id(text): text for text in texts}.values():
        if isinstance(text, FrozenText):
            found[id(text)] = frozen_features(interpreter, text)
        elif keep and interpreter.kept_as is not None and not text.learns:
            found[id(text)] = _folded(text, _remembered(interpreter, text))
        else:  # texts behind the very same prefix share a pass
            shared = (text.prefix, *text.deep, *text.inner, *text.changes)
            alone = id(text) if drops(text.changes) else 0  # what is dropped is said for the rows of one text
            passes.setdefault((*map(id, shared), text.start, alone), []).append(text)
    for together in passes.values():
        whole = interpreter.text(reduce(join_rows, together))
        rows = whole.split([t.classes for t in together], dim=1) if len(together) > 1 else [whole]
        found |= {id(text): _folded(text, part) for text, part in zip(together, rows, strict=True)}
    return [found[id(text)] for text in texts]


def frozen_features(interpreter: Interpreter, text: FrozenText) -> Tensor:
    """[1, C, d], without gradients."""
    with torch.no_grad():
        if interpreter.kept_as is None:
            return _frozen(interpreter, text)
        return fixed_texts(interpreter.backbone).find(
            _kind(interpreter), text, lambda: _frozen(interpreter, text)
        )


def _frozen(interpreter: Interpreter, text: FrozenText) -> Tensor:
    backbone = interpreter.backbone
    if not text.unit_first:
        filled = (
            [template.replace("{}", spaced(name)) for name in text.class_names] for template in text.templates
        )
        return normalise(reduce(add, (backbone.text_features(row, unit=False) for row in filled)))[None]
    each = [
        interpreter.text(template_prompt(backbone, text.class_names, template)) for template in text.templates
    ]
    return each[0] if len(each) == 1 else normalise(torch.stack(each).mean(0))


def _remembered(interpreter: Interpreter, text: TextPrompt) -> Tensor:
    return fixed_texts(interpreter.backbone).find(_kind(interpreter), text, lambda: interpreter.text(text))


def _kind(interpreter: Interpreter) -> tuple[object, ...]:
    """What features depend on beside the text."""
    backbone = interpreter.backbone
    return interpreter.kept_as, backbone.device, backbone.dtype


def _folded(text: TextPrompt, features: Tensor) -> Tensor:
    """[G, repeats C, d] -> [G repeats, C, d]."""
    if not isinstance(
        text.repeats, int
    ):  # in an exported program their number is open, and lengths are given once
        return features.unflatten(1, (-1, len(text.lengths))).flatten(0, 1)
    if text.repeats == 1:
        return features
    return features.unflatten(1, (text.repeats, -1)).flatten(0, 1)

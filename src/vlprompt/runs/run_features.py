"""Features for other programs: soft embeddings to text features, and what a run compares with what.

    logits = logit_scale * image_features . text_features (+ logit_bias, of backbones that have one)

holds for every method whose logits are nothing else; Tip-Adapter adds votes to it and a linear probe a bias.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vlprompt.backbones.backbone import Backbone
from vlprompt.data.many_pictures import list_of_pictures
from vlprompt.data.pictures import Picture, open_picture
from vlprompt.errors import OptionError
from vlprompt.feeding.inputs import live_batch, to_pixels
from vlprompt.prompts.interpreters.fast import Fast
from vlprompt.prompts.tokens import Output, TextPrompt
from vlprompt.scoring.evaluation import chunk_size

if TYPE_CHECKING:
    from vlprompt.runs.run import Run


def encode_text_embeddings(
    backbone: Backbone,
    prefix: Tensor,
    suffix: Tensor,
    *,
    lengths: Sequence[int] | None = None,
    deep: Sequence[Tensor] = (),
) -> Tensor:
    """Text features of soft embeddings, unit length: [G, C, d], float32, with gradients where the inputs have them.

    prefix: [P, D] or [G, P, D], token embeddings that all rows begin with, [SOS] first; G alternatives are each
    combined with every row. suffix: [S, D] or [C, S, D], what follows; the feature is read at a row's last
    token, which should be [EOT]. lengths: tokens of each row of suffix, where they end before S. deep: one
    [n, D] for each of the blocks 2, 3, ..., which replaces positions 1..n of the prefix there.
    D is `backbone.text_width`, d is `backbone.embed_dim`; positions are added here.

    `backbone.text.embed(ids)` gives the embeddings of token ids, and `run.method.texts()` the learned ones,
    with the same names. Raises OptionError for shapes that do not fit.
    """
    prefix = prefix[None] if prefix.dim() == 2 else prefix
    suffix = suffix[None] if suffix.dim() == 2 else suffix
    width, sizes = backbone.text_width, backbone.text.sizes
    for name, tensor in (("prefix", prefix), ("suffix", suffix)):
        if tensor.dim() != 3 or tensor.shape[-1] != width or 0 in tensor.shape:
            raise OptionError(
                f"{name} is {_shape(tensor)}: expected [.., tokens, {width}] with a token at least"
            )
    ends = tuple(lengths) if lengths is not None else (suffix.shape[1],) * len(suffix)
    if len(ends) != len(suffix) or not all(1 <= n <= suffix.shape[1] for n in ends):
        raise OptionError(f"lengths is {ends}: expected {len(suffix)} numbers from 1 to {suffix.shape[1]}")
    tokens = prefix.shape[1] + max(ends)
    if tokens > sizes.context_length:
        raise OptionError(
            f"{tokens} tokens are more than the {sizes.context_length} that the text tower has places for"
        )
    for tensor in deep:
        if tensor.dim() != 2 or tensor.shape[1] != width or not 1 <= len(tensor) < prefix.shape[1]:
            raise OptionError(f"deep is {_shape(tensor)}: expected [1 to {prefix.shape[1] - 1}, {width}]")
    if len(deep) >= sizes.layers:
        raise OptionError(f"{len(deep)} deep prompts are too many: the text tower has {sizes.layers} blocks")
    device = backbone.device
    return Fast(backbone).text(
        TextPrompt(
            prefix.to(device),
            suffix.to(device),
            ends,
            [p.to(device) for p in deep],
            start=len(backbone.tokenizer.start),
        )
    )


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def image_features(run: Run, pictures: Picture | Iterable[Picture]) -> np.ndarray:
    """Unit-length features of pictures as the run's method sees them, with its visual prompts: [N, d], float32.

    PictureError for a picture that cannot be read.
    """
    found = [output.image.float().cpu().numpy() for output in _outputs(run, pictures)]
    return np.concatenate(found) if found else np.zeros((0, run.backbone.embed_dim), np.float32)


@torch.no_grad()
def text_features(run: Run, pictures: Picture | Iterable[Picture] | None = None) -> np.ndarray:
    """What the run's method compares pictures with: [C, d], float32, rows in the order of `class_names`.

    Unit length, except for ProDA (means of unit vectors) and a linear probe (its class vectors). Of methods
    whose text features depend on the picture: [N, C, d], and OptionError without pictures.
    """
    if pictures is None:
        size = run.backbone.preprocessing.size
        pixels = torch.zeros(1, 3, size, size, device=run.backbone.device)
        method = run.method.eval()
        text = method(live_batch(run.backbone, method.facts.needs, pixels)).text
        if text.dim() == 3:
            raise OptionError(
                f'text features of method "{run.info.method}" depend on the picture: give pictures'
            )
        return text.float().cpu().numpy()
    found = []
    for output in _outputs(run, pictures):
        if output.text.dim() == 2:
            return output.text.float().cpu().numpy()
        found.append(output.text.float().cpu().numpy())
    shape = (0, len(run.class_names), run.backbone.embed_dim)
    return np.concatenate(found) if found else np.zeros(shape, np.float32)


@torch.no_grad()
def _outputs(run: Run, pictures: Picture | Iterable[Picture]) -> Iterator[Output]:
    """What the method gives, a few pictures at a time."""
    method, backbone, many = run.method.eval(), run.backbone, list_of_pictures(pictures)
    step = min(64, chunk_size(method))
    for start in range(0, len(many), step):
        crops = [np.asarray(backbone.preprocessing.crop(open_picture(p))) for p in many[start : start + step]]
        pixels = to_pixels(np.stack(crops), backbone.preprocessing, backbone.device)
        yield method(live_batch(backbone, method.facts.needs, pixels))

"""open_clip's weights to ours, by `model_cfg` of `open_clip_config.json`.

Everything in it that changes the computation is either read (into the forms of the towers) or refused by name.
Source: https://github.com/mlfoundations/open_clip, whose names follow OpenAI's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vlprompt.backbones.weights.open_clip_images import image_weights
from vlprompt.backbones.weights.open_clip_texts import text_weights
from vlprompt.backbones.weights.tower_weights import ClipWeights, Layout
from vlprompt.errors import BackboneError

# Entries that leave the features alone, or that are read.
READ = {
    "model_cfg": {
        "embed_dim",
        "quick_gelu",
        "vision_cfg",
        "text_cfg",
        "multimodal_cfg",  # CoCa's decoder, which is left out
        "custom_text",
        "cast_dtype",
        "output_dict",
        "init_logit_scale",
        "init_logit_bias",
        "nonscalar_logit_scale",
    },
    "vision_cfg": {
        "image_size",
        "layers",
        "width",
        "head_width",
        "patch_size",
        "mlp_ratio",
        "patch_dropout",
        "norm_kwargs",
        "act_kwargs",
        "ls_init_value",
        "no_ln_pre",
        "final_ln_after_pool",
        "attn_pooler_queries",
        "attn_pooler_heads",
        "output_tokens",
        "timm_model_name",
        "timm_model_pretrained",
        "timm_pool",
        "timm_proj",
        "timm_proj_bias",
        "timm_drop",
        "timm_drop_path",
    },
    "text_cfg": {
        "context_length",
        "vocab_size",
        "width",
        "heads",
        "layers",
        "mlp_ratio",
        "norm_kwargs",
        "act_kwargs",
        "ls_init_value",
        "embed_cls",
        "correct_cls_mask",
        "no_causal_mask",
        "proj_bias",
        "pad_id",
        "eos_id",
        "output_tokens",
        "hf_model_name",
        "hf_model_pretrained",
        "hf_proj_type",
        "hf_pooler_type",
        "hf_tokenizer_name",
        "tokenizer_kwargs",
    },
}
# Entries of which some values are read.
SOME: dict[tuple[str, str], tuple[Any, ...]] = {
    ("vision_cfg", "pos_embed_type"): ("learnable", "sin_cos_2d"),  # either is stored
    ("vision_cfg", "pool_type"): ("tok", "avg"),
    ("vision_cfg", "attentional_pool"): (True,),
    ("text_cfg", "pool_type"): ("argmax", "eos", "first", "last"),
    ("text_cfg", "proj_type"): ("linear", "none"),
    ("vision_cfg", "block_type"): ("default",),
    ("text_cfg", "block_type"): ("default",),
}
KNOWN_KWARGS = {
    "norm_kwargs": {"eps"},
    "act_kwargs": {"approximate"},
    "tokenizer_kwargs": {"clean", "strip_sep_token"},
}


def from_open_clip(state: Mapping[str, Any], config: Mapping[str, Any]) -> ClipWeights:
    """From open_clip's state dict and its `model_cfg`. Raises BackboneError for what vlprompt does not have."""
    refuse_unknown_open_clip(config)
    layout = Layout(_apart(state, config))
    quick = bool(config.get("quick_gelu"))
    text, embed_dim = text_weights(layout, config.get("text_cfg", {}), quick)
    weights = ClipWeights(
        text=text,
        image=image_weights(layout, config.get("vision_cfg", {}), quick, embed_dim),
        embed_dim=embed_dim,
        logit_scale=layout.scale(),
        logit_bias=layout.bias(),
    )
    layout.finish()
    return weights


def _apart(state: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """The names of a text tower without the "text." of its newer classes; CoCa without its decoder."""
    named = {
        n: t for n, t in state.items() if not (n.startswith("text_decoder.") and config.get("multimodal_cfg"))
    }
    return {name.removeprefix("text."): tensor for name, tensor in named.items()}


def refuse_unknown_open_clip(config: Mapping[str, Any]) -> None:
    """Raises BackboneError if `model_cfg` asks for something that vlprompt's towers do not have."""
    for part in READ:
        values = config if part == "model_cfg" else config.get(part, {})
        for name, value in values.items():
            known = name in READ[part] or value in SOME.get((part, name), ())
            if not known and value not in (None, False, {}, []) and not _unused(name, values):
                raise BackboneError(
                    f"open_clip_config.json: {part}.{name} = {value!r} is not supported by vlprompt"
                )
        for name, allowed in KNOWN_KWARGS.items():
            extra = set(values.get(name) or {}) - allowed
            if extra:
                raise BackboneError(
                    f"open_clip_config.json: {part}.{name} has unknown {', '.join(sorted(extra))}"
                )
        approximate = (values.get("act_kwargs") or {}).get("approximate", "tanh")
        if approximate not in ("tanh", "none"):
            raise BackboneError(
                f"open_clip_config.json: {part}.act_kwargs: no GELU is called {approximate!r}"
            )


def _unused(name: str, values: Mapping[str, Any]) -> bool:
    """timm's settings say nothing where no such model is named."""
    return name.startswith("timm_") and not values.get("timm_model_name")

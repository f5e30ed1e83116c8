"""Families beside CLIP: features, tokens and pixels equal those of transformers and open_clip, with random weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peers import import_open_clip, import_timm
from PIL import Image
from safetensors.torch import save_file
from test_peers import close, pixels, shake
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.loading import load_backbone
from vlprompt.data.task import Task
from vlprompt.errors import BackboneError

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

TEXTS = ["a photo of a cat.", "x ray fish", "A dog", "of"]
WORDS = ["a", "photo", "of", "cat", "dog", "x", "ray", "fish", "this", "is", "."]
TEXT = {"hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {
    "hidden_size": 96,
    "intermediate_size": 112,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 32,
    "patch_size": 8,
}


def unigram(folder: Path, start: str | None = None) -> None:
    """A SentencePiece-like vocabulary of 32 ids: <pad> 0, </s> 1, <unk> 2, <s> 3."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("<s>", 0.0)]
    pieces += [(f"▁{w}", -2.0) for w in WORDS] + [(c, -5.0) for c in "abcdefgh.▁"]
    core = Tokenizer(models.Unigram(pieces, unk_id=2))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    tokens = [("</s>", 1)] + ([(start, 3)] if start else [])
    core.post_processor = processors.TemplateProcessing(
        single=f"{start} $A </s>" if start else "$A </s>", special_tokens=tokens
    )
    folder.mkdir(parents=True, exist_ok=True)
    core.save(str(folder / "tokenizer.json"))


def wordpiece(folder: Path) -> None:
    """BERT's kind: [PAD] 0, [CLS] 2, [SEP] 3."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *(f"##{c}" for c in "abcdefgh")]
    core = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    core.save(str(folder / "tokenizer.json"))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")


def rows(backbone: Backbone, pad: int, texts: list[str] = TEXTS) -> Tensor:
    """Token ids filled up to the context length, as the family's own programs give them to the tower."""
    length = backbone.tokenizer.context_length
    return torch.tensor([r + [pad] * (length - len(r)) for r in backbone.tokenizer.encode_many(texts)])


def same_logits(backbone: Backbone, x: Tensor, theirs: Tensor) -> None:
    ours = backbone.logits(backbone.image_features(x), backbone.text_features(TEXTS))
    torch.testing.assert_close(ours, theirs.detach(), atol=2e-3, rtol=0)


# -- transformers --------------------------------------------------------------------------------------


def siglip(**changes: Any) -> nn.Module:
    text = TEXT | {"vocab_size": 40, "max_position_embeddings": 16, "pad_token_id": 0, "projection_size": 96}
    config = transformers.SiglipConfig(text_config=text | changes, vision_config=VISION | changes)
    model = transformers.SiglipModel(config).eval()
    shake(model)
    model.logit_bias.data.fill_(-3.0)
    model.logit_scale.data.fill_(2.0)
    return model


@pytest.mark.parametrize("changes", [{}, {"hidden_act": "gelu"}, {"layer_norm_eps": 1e-2}], ids=str)
def test_siglip(tmp_path: Path, changes: dict[str, Any]) -> None:
    model = siglip(**changes)
    model.save_pretrained(tmp_path)
    unigram(tmp_path)
    backbone = load_backbone(tmp_path)
    x = pixels(32)
    with torch.no_grad():
        theirs = model(input_ids=rows(backbone, 0), pixel_values=x)
    close(backbone.image_features(x), theirs.image_embeds)
    close(backbone.text_features(TEXTS), theirs.text_embeds)
    same_logits(backbone, x, theirs.logits_per_image)
    assert backbone.logit_bias == pytest.approx(-3.0)
    assert backbone.tokenizer.start == () and backbone.tokenizer.encode("a cat")[-1] == 1


@pytest.mark.parametrize(
    ("kind", "said", "expected"),
    [
        ("SiglipTokenizer", "A  photo, of a CAT!", "a photo of a cat"),
        ("GemmaTokenizer", "A photo of a CAT.", "a photo of a cat."),
    ],
)
def test_siglip_cleans_texts(tmp_path: Path, kind: str, said: str, expected: str) -> None:
    siglip().save_pretrained(tmp_path)
    unigram(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": kind, "pad_token": "</s>"})
    )
    backbone = load_backbone(tmp_path)
    peer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert backbone.tokenizer.encode(said) == peer(expected).input_ids
    assert backbone.tokenizer.pad_id == backbone.text.form.pad_id == 1


@pytest.mark.parametrize("resample", [2, 3])
def test_siglip_pixels(tmp_path: Path, resample: int) -> None:
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    peer = SiglipImageProcessorPil(size={"height": 32, "width": 32}, resample=resample)
    siglip().save_pretrained(tmp_path)
    unigram(tmp_path)
    peer.save_pretrained(tmp_path)
    stated = json.loads((tmp_path / "preprocessor_config.json").read_text())
    stated.pop("do_center_crop", None)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(stated | {"image_processor_type": "SiglipImageProcessor"})
    )
    backbone = load_backbone(tmp_path)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    theirs = np.asarray(peer(picture, return_tensors="np").pixel_values[0])
    np.testing.assert_allclose(backbone.preprocessing(picture), theirs, atol=1e-6)


def test_metaclip_2(tmp_path: Path) -> None:
    text = TEXT | {"vocab_size": 40, "max_position_embeddings": 24, "eos_token_id": 1, "bos_token_id": 3}
    config = transformers.MetaClip2Config(text_config=text, vision_config=VISION, projection_dim=48)
    model = transformers.MetaClip2Model(config).eval()
    shake(model)
    model.save_pretrained(tmp_path)
    unigram(tmp_path, start="<s>")
    backbone = load_backbone(tmp_path)
    x = pixels(32)
    with torch.no_grad():
        theirs = model(input_ids=rows(backbone, 0), pixel_values=x)
    close(backbone.image_features(x), theirs.image_embeds)
    close(backbone.text_features(TEXTS), theirs.text_embeds)
    assert backbone.tokenizer.encode("a cat") == [3, 4, 7, 1]


@pytest.mark.parametrize("file", ["tokenizer.json", "vocab.txt"])
def test_chinese_clip(tmp_path: Path, file: str) -> None:
    text = TEXT | {"vocab_size": 40, "max_position_embeddings": 24}
    config = transformers.ChineseCLIPConfig(text_config=text, vision_config=VISION, projection_dim=48)
    model = transformers.ChineseCLIPModel(config).eval()
    shake(model)
    model.save_pretrained(tmp_path)
    wordpiece(tmp_path)
    (tmp_path / ("vocab.txt" if file == "tokenizer.json" else "tokenizer.json")).unlink()
    backbone = load_backbone(tmp_path)
    x, ids = pixels(32), rows(backbone, 0)
    with torch.no_grad():
        theirs = model(input_ids=ids, pixel_values=x, attention_mask=(ids != 0).long())
    close(backbone.image_features(x), theirs.image_embeds)
    close(backbone.text_features(TEXTS), theirs.text_embeds)
    assert backbone.tokenizer.encode("A cat") == [2, 4, 7, 3]


def test_naflex_and_others_are_refused_by_name(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "siglip2"}')
    with pytest.raises(BackboneError, match="NaFlex"):
        load_backbone(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "blip"}')
    with pytest.raises(BackboneError, match='"blip", which is none of the families'):
        load_backbone(tmp_path)


# -- open_clip -----------------------------------------------------------------------------------------

VIT = {"layers": 2, "width": 96, "head_width": 32, "patch_size": 8, "image_size": 32}
OWN = {"width": 64, "heads": 2, "layers": 2, "vocab_size": 49408, "context_length": 20}
OPEN_CLIP: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "average of patches": ({"pool_type": "avg"}, {}, {}),
    "average, norm behind it": ({"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True}, {}, {}),
    "fixed positions": ({"pos_embed_type": "sin_cos_2d"}, {}, {}),
    "layer scale": ({"ls_init_value": 0.1}, {"ls_init_value": 0.1}, {}),
    "gelu's tanh form": (
        {"act_kwargs": {"approximate": "tanh"}},
        {"act_kwargs": {"approximate": "tanh"}},
        {},
    ),
    "attention pooling": ({"attentional_pool": True, "attn_pooler_heads": 4}, {}, {}),
    "attention pooling as wide as the tower": ({"attentional_pool": True}, {}, {"embed_dim": 96}),
    "not causal, last": ({}, {"no_causal_mask": True, "pool_type": "last"}, {}),
    "not causal, end": ({}, {"no_causal_mask": True}, {}),
    "causal, last": ({}, {"pool_type": "last"}, {}),
    "first": ({}, {"no_causal_mask": True, "pool_type": "first"}, {}),
    "bias of projection and logits": (
        {},
        {"proj_bias": True, "no_causal_mask": True, "pool_type": "last"},
        {"init_logit_bias": -10.0},
    ),
    "no text projection": ({}, {"proj_type": "none"}, {"embed_dim": 64}),
}


def saved(folder: Path, model: nn.Module, config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(
        {n: t.contiguous() for n, t in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


@pytest.mark.parametrize("name", OPEN_CLIP)
def test_open_clip(name: str, tmp_path: Path) -> None:
    peer = import_open_clip()
    vision, text, more = OPEN_CLIP[name]
    config = {"embed_dim": 48, "vision_cfg": VIT | vision, "text_cfg": OWN | text} | more
    model = peer.CustomTextCLIP(**config).eval()
    shake(model)
    if model.logit_bias is not None:
        model.logit_bias.data.fill_(more["init_logit_bias"])
    backbone = load_backbone(saved(tmp_path, model, config | {"custom_text": True}))
    x = pixels(32)
    with torch.no_grad():
        close(backbone.image_features(x), model.encode_image(x))
        close(backbone.text_features(TEXTS), model.encode_text(rows(backbone, 0)))
    assert backbone.logit_bias == pytest.approx(more.get("init_logit_bias", 0.0))


@pytest.mark.parametrize("corrected", [False, True])
def test_the_two_towers_of_coca(corrected: bool, tmp_path: Path) -> None:
    import_open_clip()
    from open_clip.coca_model import CoCa

    text = OWN | {"embed_cls": True, "output_tokens": True, "correct_cls_mask": corrected}
    vision = VIT | {"attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True}
    decoder = {"width": 48, "heads": 2, "layers": 1, "context_length": 20, "vocab_size": 49408}
    config = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text, "multimodal_cfg": decoder}
    own = {k: v for k, v in text.items() if k != "correct_cls_mask"}  # its configuration has no such entry
    model = CoCa(**config | {"text_cfg": own}).eval()
    model.text.correct_cls_mask = corrected
    shake(model)
    backbone = load_backbone(saved(tmp_path, model, config | {"custom_text": True}))
    texts = [*TEXTS, " ".join(["cat"] * 18)]  # the last fills all places
    x = pixels(32)
    with torch.no_grad():
        close(backbone.image_features(x), model.encode_image(x))
        close(backbone.text_features(texts), model.encode_text(rows(backbone, 0, texts)))


class WithText(nn.Module):
    """open_clip's adapter of a Hugging Face model, written out: mean over the tokens, then the projection."""

    def __init__(self, transformer: nn.Module, proj: nn.Module, first: bool) -> None:
        super().__init__()
        self.transformer, self.proj, self.first = transformer, proj, first

    def forward(self, ids: Tensor, pad: int) -> Tensor:
        mask = (ids != pad).long()
        states = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.first:
            return self.proj(states[:, 0])
        return self.proj((states * mask[..., None]).sum(1) / mask.sum(-1, keepdim=True))


@pytest.mark.parametrize(
    "kind", ["xlm-roberta-base, mlp", "roberta-base, linear", "bert-base-uncased, first"]
)
def test_open_clip_with_a_hugging_face_text_tower(kind: str, tmp_path: Path) -> None:
    peer = import_open_clip()
    model_name, _, how = kind.partition(", ")
    sizes = TEXT | {"vocab_size": 40, "num_attention_heads": 1, "max_position_embeddings": 30}
    if model_name.startswith("bert"):
        bert = transformers.BertModel(transformers.BertConfig(**sizes), add_pooling_layer=False)
    else:
        config_of = transformers.XLMRobertaConfig if "xlm" in model_name else transformers.RobertaConfig
        model_of = transformers.XLMRobertaModel if "xlm" in model_name else transformers.RobertaModel
        bert = model_of(config_of(**sizes, pad_token_id=1, layer_norm_eps=1e-5), add_pooling_layer=False)
    linear = nn.Linear(64, 48, bias=False)
    mlp = nn.Sequential(nn.Linear(64, 56, bias=False), nn.GELU(), nn.Linear(56, 48, bias=False))
    text = WithText(bert, mlp if how == "mlp" else linear, how == "first").eval()
    model = peer.CLIP(embed_dim=48, vision_cfg=VIT, text_cfg=OWN).eval()
    shake(model)
    shake(text)
    config = {
        "embed_dim": 48,
        "vision_cfg": VIT,
        "text_cfg": {
            "hf_model_name": model_name,
            "hf_tokenizer_name": model_name,
            "hf_pooler_type": "cls_last_hidden_state_pooler" if how == "first" else "mean_pooler",
            "context_length": 20,
        },
    }
    state = {f"text.{n}": t for n, t in text.state_dict().items()}
    state |= {n: t for n, t in model.state_dict().items() if n.startswith(("visual.", "logit_scale"))}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file({n: t.contiguous() for n, t in state.items()}, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(BackboneError, match=f"tokenizer.json: put that of {model_name}"):
        load_backbone(tmp_path)
    wordpiece(tmp_path)
    backbone = load_backbone(tmp_path)
    pad = 0 if model_name.startswith("bert") else 1  # 1 is [UNK] here, which no text has
    with torch.no_grad():
        close(backbone.text_features(TEXTS), text(rows(backbone, pad), pad))


def test_clipa_ends_texts_with_padding(tmp_path: Path) -> None:
    """`strip_sep_token`: the end token becomes padding."""
    peer = import_open_clip()
    text = OWN | {"vocab_size": 40, "no_causal_mask": True, "pool_type": "last"}
    vision = VIT | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}
    config = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": text}
    model = peer.CLIP(**config).eval()
    shake(model)
    config["text_cfg"] = text | {
        "hf_tokenizer_name": "bert-base-uncased",
        "tokenizer_kwargs": {"strip_sep_token": True},
    }
    backbone = load_backbone_with_words(tmp_path, model, config)
    assert backbone.tokenizer.encode("A cat.") == [2, 4, 7, 14, 0]
    with torch.no_grad():
        close(backbone.text_features(TEXTS), model.encode_text(rows(backbone, 0)))


def load_backbone_with_words(folder: Path, model: nn.Module, config: dict[str, Any]) -> Backbone:
    wordpiece(folder)
    return load_backbone(saved(folder, model, config))


@pytest.mark.parametrize("name", ["google/mt5-base", "facebook/nllb-200-distilled-600M"])
def test_other_text_models_are_refused_by_name(name: str, tmp_path: Path) -> None:
    peer = import_open_clip()
    model = peer.CLIP(embed_dim=48, vision_cfg=VIT, text_cfg=OWN)
    config = {"embed_dim": 48, "vision_cfg": VIT, "text_cfg": {"hf_model_name": name}}
    with pytest.raises(BackboneError, match=name):
        load_backbone(saved(tmp_path, model, config))


# -- timm ----------------------------------------------------------------------------------------------

TIMM_NAMES = {
    "embeddings.patch_embedding": "patch_embed.proj",
    "embeddings.position_embedding.weight": "pos_embed",
    "post_layernorm": "norm",
    "head.attention.out_proj": "attn_pool.proj",
    "head.layernorm": "attn_pool.norm",
    "head.mlp": "attn_pool.mlp",
    "head.probe": "attn_pool.latent",
    "encoder.layers": "blocks",
    "layer_norm": "norm",
    "self_attn.out_proj": "attn.proj",
}


def as_timm(vision: nn.Module) -> dict[str, Tensor]:
    """transformers' SigLIP tower under timm's names, which hold the same network."""
    state = dict(vision.state_dict())
    found = {}
    for name, tensor in state.items():
        for theirs, ours in TIMM_NAMES.items():
            name = name.replace(theirs, ours)
        found[name] = tensor[None] if name == "pos_embed" else tensor
    for part in ("weight", "bias"):
        for at in [n.partition(".self_attn")[0] for n in found if n.endswith(f"self_attn.q_proj.{part}")]:
            parts = [found.pop(f"{at}.self_attn.{which}_proj.{part}") for which in "qkv"]
            found[f"{at}.attn.qkv.{part}"] = torch.cat(parts)
        q, k, v = found.pop(f"head.attention.in_proj_{part}").chunk(3)
        found |= {f"attn_pool.q.{part}": q, f"attn_pool.kv.{part}": torch.cat([k, v])}
    return {f"visual.trunk.{name}": tensor for name, tensor in found.items()}


def test_timms_siglip_is_read_into_our_own_tower(tmp_path: Path) -> None:
    peer = import_open_clip()
    sizes = VISION | {"num_attention_heads": 1, "hidden_act": "gelu"}
    text = TEXT | {"vocab_size": 40, "max_position_embeddings": 16, "projection_size": 96}
    whole = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=sizes)).eval()
    shake(whole)
    model = peer.CLIP(embed_dim=96, vision_cfg=VIT, text_cfg=OWN).eval()
    state = {n: t for n, t in model.state_dict().items() if not n.startswith("visual.")}
    state |= as_timm(whole.vision_model)
    vision = {"timm_model_name": "vit_tiny_patch8_siglip_32", "timm_pool": "map", "timm_proj": "none"}
    config = {"embed_dim": 96, "vision_cfg": vision | {"image_size": 32}, "text_cfg": OWN}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file({n: t.contiguous() for n, t in state.items()}, tmp_path / "open_clip_model.safetensors")
    backbone = load_backbone(tmp_path)
    x = pixels(32)
    with torch.no_grad():
        close(backbone.image_features(x), whole.vision_model(x).pooler_output)
    assert backbone.takes_visual_prompts


@pytest.mark.parametrize(
    ("name", "pool", "proj"),
    [
        ("vit_base_patch16_siglip_224", "map", "none"),
        ("vit_base_patch16_clip_224", "token", None),
        ("vit_xsmall_patch16_clip_224", "token", "linear"),
        ("convnext_atto", "", "mlp"),
        ("convnext_atto", "", "linear"),
        ("eva02_tiny_patch14_224", "token", None),
        ("fastvit_t8", "avg", None),
    ],
)
def test_towers_of_timm(name: str, pool: str, proj: str | None, tmp_path: Path) -> None:
    timm = import_timm()
    import_open_clip()
    from open_clip import timm_model

    timm_model.timm, timm_model.Mlp, timm_model.to_2tuple = timm, timm.layers.Mlp, timm.layers.to_2tuple
    visual = timm_model.TimmModel(name, 96 if proj != "none" else 768, pool=pool, proj=proj).eval()
    shake(visual)
    embed_dim = 96 if proj != "none" else 768
    peer = import_open_clip()
    model = peer.CLIP(embed_dim=embed_dim, vision_cfg=VIT, text_cfg=OWN).eval()
    state = {n: t for n, t in model.state_dict().items() if not n.startswith("visual.")}
    state |= {f"visual.{n}": t for n, t in visual.state_dict().items()}
    vision = {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": 224}
    config = {"embed_dim": embed_dim, "vision_cfg": vision, "text_cfg": OWN}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file({n: t.contiguous() for n, t in state.items()}, tmp_path / "open_clip_model.safetensors")
    backbone = load_backbone(tmp_path)
    x = pixels(224)[:2]
    with torch.no_grad():
        close(backbone.image_features(x), visual(x))
    assert backbone.takes_visual_prompts == name.startswith("vit_")
    if not backbone.takes_visual_prompts:
        with pytest.raises(BackboneError, match=f"timm .{name}. image tower"):
            methods.load("vpt").build(backbone, Task(("cat", "dog")))
        half = load_backbone(tmp_path, precision="bf16")
        torch.testing.assert_close(half.image_features(x), backbone.image_features(x))


def test_a_tower_of_timm_without_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    peer = import_open_clip()
    model = peer.CLIP(embed_dim=48, vision_cfg=VIT, text_cfg=OWN)
    vision = {"timm_model_name": "convnext_base", "timm_pool": "", "timm_proj": "linear"}
    config = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": OWN}
    with pytest.raises(BackboneError, match=r"convnext_base is one of timm's.*vlprompt\[timm\]"):
        load_backbone(saved(tmp_path, model, config))

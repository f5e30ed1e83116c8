"""Write both towers as a Hugging Face CLIP folder with fp16 weights."""

import json
import math
from pathlib import Path

import tokenizer as vocabulary
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor
from towers import ImageTower, Sizes, TextTower
from train_image import MEAN, STD

LIMIT = 24_000_000  # bytes of model.safetensors


def weights(image: ImageTower, text: TextTower, logit_scale: float) -> dict[str, Tensor]:
    """All parameters under the names of `transformers.CLIPModel`, float32."""
    out = {"logit_scale": torch.tensor(math.log(logit_scale))}
    for name, value in image.state_dict().items():
        if name == "projection.weight":
            out["visual_projection.weight"] = value
        elif name == "patch_embedding.weight":
            p = image.patch
            out["vision_model.embeddings.patch_embedding.weight"] = value.view(-1, 3, p, p)
        elif name in ("class_embedding", "position_embedding"):
            suffix = ".weight" if name.startswith("position") else ""
            out[f"vision_model.embeddings.{name}{suffix}"] = value
        else:
            out["vision_model." + ("encoder." if name.startswith("layers.") else "") + name] = value
    for name, value in text.state_dict().items():
        if name == "projection.weight":
            out["text_projection.weight"] = value
        elif name == "token_embedding.weight":
            out["text_model.embeddings.token_embedding.weight"] = value
        elif name == "position_embedding":
            out["text_model.embeddings.position_embedding.weight"] = value
        else:
            out["text_model." + ("encoder." if name.startswith("layers.") else "") + name] = value
    return out


def config(sizes: Sizes, logit_scale: float) -> dict:
    """`config.json` of a `CLIPModel`."""
    shared = {
        "hidden_size": sizes.width,
        "intermediate_size": 4 * sizes.width,
        "num_attention_heads": sizes.heads,
    }
    shared |= {
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "projection_dim": sizes.embed_dim,
        "attention_dropout": 0.0,
    }
    end = sizes.vocabulary - 1
    text = {
        "model_type": "clip_text_model",
        "num_hidden_layers": sizes.text_blocks,
        "vocab_size": sizes.vocabulary,
    }
    text |= {
        "max_position_embeddings": sizes.text_length,
        "bos_token_id": end - 1,
        "eos_token_id": end,
        "pad_token_id": end,
    }
    vision = {"model_type": "clip_vision_model", "num_hidden_layers": sizes.image_blocks, "num_channels": 3}
    vision |= {"image_size": sizes.image_size, "patch_size": sizes.patch_size}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": sizes.embed_dim,
        "logit_scale_init_value": math.log(logit_scale),
        "torch_dtype": "float16",
        "text_config": text | shared,
        "vision_config": vision | shared,
    }


def preprocessor(size: int) -> dict:
    """`preprocessor_config.json`: CLIP's steps at our size."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
        "do_convert_rgb": True,
    }


def calibrated_scale(images: Tensor, classes: Tensor, labels: Tensor) -> float:
    """The logit scale in 20..100 with the least cross entropy; all features unit length."""
    logits = images.float() @ classes.float().T
    return min(range(20, 101), key=lambda scale: F.cross_entropy(scale * logits, labels).item())


def export(
    image: ImageTower, text: TextTower, tokenizer: Tokenizer, sizes: Sizes, logit_scale: float, out: Path
) -> None:
    """Write weights, configuration, tokenizer and preprocessing into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.detach().cpu().half().contiguous()
        for name, value in weights(image, text, logit_scale).items()
    }
    assert all(value.isfinite().all() for value in tensors.values())
    file = out / "model.safetensors"
    save_file(tensors, file.with_suffix(".part"), metadata={"format": "pt"})
    file.with_suffix(".part").rename(file)
    file.chmod(0o644)  # safetensors writes files for their owner only
    if file.stat().st_size > LIMIT:
        raise ValueError(f"{file} has {file.stat().st_size} bytes, more than {LIMIT}")
    (out / "config.json").write_text(json.dumps(config(sizes, logit_scale), indent=2) + "\n")
    (out / "preprocessor_config.json").write_text(json.dumps(preprocessor(sizes.image_size), indent=2) + "\n")
    vocabulary.save(tokenizer, out)

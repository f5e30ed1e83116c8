"""Models on the hub that can be named, with what it costs to load them and what is published of them.

zero_shot: top-1 accuracy on ImageNet by names, in per cent, as its authors or open_clip's table of results give it; it was
not measured here. parameters: in millions, both towers. A model that is not in this list can be named all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlprompt.backbones.locating import NAMED


@dataclass(frozen=True)
class KnownBackbone:
    """name: what `--backbone` takes. pixels: of the side of its pictures. needs: an extra, if it needs one."""

    name: str
    family: str
    pixels: int
    parameters: int
    licence: str
    zero_shot: float | None
    needs: str = ""

    @property
    def megabytes(self) -> int:
        """What it takes in memory, in float32; files are this large or half of it."""
        return 4 * self.parameters

    @property
    def visual_prompts(self) -> bool:
        """Whether visual prompts can enter its image tower."""
        return not self.needs and not self.name.startswith("RN")


_ROWS: dict[tuple[str, str], list[tuple[str, int, int, float | None]]] = {
    ("CLIP", "MIT"): [
        ("ViT-B/32", 224, 151, 63.2),
        ("ViT-B/16", 224, 150, 68.6),
        ("ViT-L/14", 224, 428, 75.3),
        ("ViT-L/14@336px", 336, 428, 76.2),
        ("RN50", 224, 102, 59.6),
        ("RN101", 224, 120, 62.2),
        ("RN50x4", 288, 178, 65.8),
        ("RN50x16", 384, 291, 70.5),
        ("RN50x64", 448, 623, 73.6),
    ],
    ("open_clip, LAION-2B", "MIT"): [
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", 224, 151, 66.6),
        ("laion/CLIP-ViT-B-16-laion2B-s34B-b88K", 224, 150, 70.2),
        ("laion/CLIP-ViT-L-14-laion2B-s32B-b82K", 224, 428, 75.3),
        ("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", 224, 986, 78.0),
        ("laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", 224, 2540, 80.1),
    ],
    ("open_clip, DataComp-1B", "MIT"): [
        ("laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K", 224, 151, 69.2),
        ("laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K", 224, 150, 73.5),
        ("laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K", 224, 428, 79.2),
    ],
    ("open_clip, XLM-R text", "MIT"): [
        ("laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k", 224, 366, 62.3),
        ("laion/CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k", 224, 1193, 77.0),
    ],
    ("CoCa (two towers)", "MIT"): [
        ("laion/CoCa-ViT-B-32-laion2B-s13B-b90k", 224, 254, 63.6),
        ("laion/CoCa-ViT-L-14-laion2B-s13B-b90k", 224, 638, 75.6),
    ],
    ("CLIPA v2", "Apache-2.0"): [
        ("UCSC-VLAA/ViT-L-14-CLIPA-datacomp1B", 224, 414, 79.6),
        ("UCSC-VLAA/ViT-H-14-CLIPA-336-datacomp1B", 336, 969, 81.8),
    ],
    ("MetaCLIP", "CC-BY-NC-4.0"): [
        ("facebook/metaclip-b32-400m", 224, 151, 65.5),
        ("facebook/metaclip-b16-fullcc2.5b", 224, 150, 72.1),
        ("facebook/metaclip-l14-fullcc2.5b", 224, 428, 79.2),
        ("facebook/metaclip-h14-fullcc2.5b", 224, 986, 80.5),
    ],
    ("MetaCLIP 2 (many languages)", "CC-BY-NC-4.0"): [
        ("facebook/metaclip-2-worldwide-huge-quickgelu", 224, 1859, 81.3)
    ],
    ("DFN", "apple-amlr"): [
        ("hf-hub:apple/DFN2B-CLIP-ViT-B-16", 224, 150, 76.2),
        ("hf-hub:apple/DFN2B-CLIP-ViT-L-14", 224, 428, 81.4),
        ("hf-hub:apple/DFN5B-CLIP-ViT-H-14", 224, 986, 83.4),
    ],
    ("SigLIP", "Apache-2.0"): [
        ("google/siglip-base-patch16-224", 224, 203, 76.0),
        ("google/siglip-base-patch16-384", 384, 203, 78.5),
        ("google/siglip-large-patch16-256", 256, 652, 80.5),
        ("google/siglip-so400m-patch14-224", 224, 877, 82.0),
        ("google/siglip-so400m-patch14-384", 384, 878, 83.1),
    ],
    ("SigLIP 2", "Apache-2.0"): [
        ("google/siglip2-base-patch32-256", 256, 377, 74.0),
        ("google/siglip2-base-patch16-224", 224, 375, 78.2),
        ("google/siglip2-base-patch16-384", 384, 376, 80.6),
        ("google/siglip2-large-patch16-256", 256, 882, 82.5),
        ("google/siglip2-so400m-patch14-224", 224, 1136, 83.2),
        ("google/siglip2-so400m-patch14-384", 384, 1136, 84.1),
        ("google/siglip2-giant-opt-patch16-384", 384, 1871, 85.0),
    ],
    ("Chinese-CLIP", "see its page"): [
        ("OFA-Sys/chinese-clip-vit-base-patch16", 224, 188, None),
        ("OFA-Sys/chinese-clip-vit-large-patch14", 224, 406, None),
    ],
}
_TIMM: dict[tuple[str, str], list[tuple[str, int, int, float | None]]] = {
    ("EVA-02 CLIP", "MIT"): [
        ("hf-hub:timm/eva02_base_patch16_clip_224.merged2b_s8b_b131k", 224, 150, 74.7),
        ("hf-hub:timm/eva02_large_patch14_clip_336.merged2b_s6b_b61k", 336, 428, 80.4),
    ],
    ("MobileCLIP", "apple-amlr"): [
        ("hf-hub:apple/MobileCLIP-S1-OpenCLIP", 256, 85, 72.6),
        ("hf-hub:apple/MobileCLIP-S2-OpenCLIP", 256, 99, 74.4),
        ("hf-hub:apple/MobileCLIP-B-OpenCLIP", 224, 150, 76.8),
    ],
    ("Perception Encoder", "Apache-2.0"): [
        ("hf-hub:timm/PE-Core-B-16", 224, 448, 78.4),
        ("hf-hub:timm/PE-Core-L-14-336", 336, 671, 83.5),
    ],
}


def known_backbones() -> list[KnownBackbone]:
    """All of them, family by family; the embedded one is not on the hub and not among them."""
    found = [
        KnownBackbone(name, family, pixels, parameters, licence, zero_shot, needs)
        for needs, table in (("", _ROWS), ("timm", _TIMM))
        for (family, licence), rows in table.items()
        for name, pixels, parameters, zero_shot in rows
    ]
    assert NAMED.keys() <= {one.name for one in found}
    return found

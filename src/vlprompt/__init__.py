"""vlprompt: teach CLIP-like models new classes from a few pictures by learning prompts.

Names are imported when they are first used, so that `import vlprompt` is immediate.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlprompt.backbones.loading import load_backbone
    from vlprompt.backbones.spec import BackboneSpec
    from vlprompt.data.dataset import Dataset
    from vlprompt.data.opening import open_dataset
    from vlprompt.estimator import PromptClassifier
    from vlprompt.fitting.learning import fit
    from vlprompt.fitting.measuring import Measure
    from vlprompt.fitting.plan import make_plan
    from vlprompt.protocols.base_to_new import base_to_new
    from vlprompt.protocols.few_shot import few_shot
    from vlprompt.runs.exporting.export import export
    from vlprompt.runs.run import Run
    from vlprompt.runs.run_features import encode_text_embeddings
    from vlprompt.scoring.evaluation import Scores, evaluate
    from vlprompt.training.train_options import TrainOptions

from vlprompt.renamed import install as _install_old_names

__version__ = "0.1.0"

# torch's threads spin while they wait for each other, by default for so long that on a machine with other
# work to do a training of a small model takes 3 to 13 times as long. Read when torch is first imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_install_old_names()

_HOME = {
    "BackboneSpec": "backbones.spec",
    "Dataset": "data.dataset",
    "Measure": "fitting.measuring",
    "PromptClassifier": "estimator",
    "Run": "runs.run",
    "Scores": "scoring.evaluation",
    "TrainOptions": "training.train_options",
    "base_to_new": "protocols.base_to_new",
    "encode_text_embeddings": "runs.run_features",
    "evaluate": "scoring.evaluation",
    "export": "runs.exporting.export",
    "few_shot": "protocols.few_shot",
    "fit": "fitting.learning",
    "load_backbone": "backbones.loading",
    "make_plan": "fitting.plan",
    "open_dataset": "data.opening",
}

__all__ = [
    "BackboneSpec",
    "Dataset",
    "Measure",
    "PromptClassifier",
    "Run",
    "Scores",
    "TrainOptions",
    "base_to_new",
    "encode_text_embeddings",
    "evaluate",
    "export",
    "few_shot",
    "fit",
    "load_backbone",
    "make_plan",
    "open_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

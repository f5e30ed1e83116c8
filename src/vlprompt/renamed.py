"""Modules that have moved: their old names import for one more release, with a warning.

Nothing here is looked at before an import has failed everywhere else, so it costs nothing otherwise.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

GONE_IN = "0.3"
PACKAGES = ("clip", "results", "exporting")  # rooms that are no more
MOVED = {
    "classifier": "estimator",
    "cli.guarding": "cli.error_reporting",
    "clip.assembling": "backbones.assembling",
    "clip.backbone": "backbones.backbone",
    "clip.cleaning": "backbones.text_cleaning",
    "clip.huggingface": "backbones.weights.huggingface_clip",
    "clip.layouts": "backbones.weights.openai_clip",
    "clip.loading": "backbones.loading",
    "clip.locating": "backbones.locating",
    "clip.plain": "prompts.interpreters.plain",
    "clip.preprocessing": "backbones.preprocessing",
    "clip.resnet": "backbones.towers.resnet",
    "clip.tensors": "backbones.weights.tensor_files",
    "clip.tokenizing": "backbones.tokenizing",
    "clip.towers": "backbones.towers",
    "clip.weights": "backbones.weights.tower_weights",
    "data.cache": "feeding.feature_cache",
    "data.demo": "data.demo_pictures",
    "data.huggingface": "data.hugging_face_datasets",
    "data.layouts": "data.folder_layouts",
    "data.store": "sqlite_store",
    "data.tables": "data.list_files",
    "data.views": "feeding.views",
    "demo.all_jobs": "demo.all_trainings",
    "demo.jobs": "demo.one_training",
    "embedding": "collections.embedding",
    "evaluation": "scoring.evaluation",
    "exporting.checking": "runs.exporting.checking",
    "exporting.export": "runs.exporting.export",
    "exporting.formats": "runs.exporting.file_formats",
    "exporting.metadata": "runs.exporting.metadata",
    "exporting.options": "runs.exporting.export_options",
    "exporting.program": "runs.exporting.program",
    "exporting.tracing": "runs.exporting.tracing",
    "features": "runs.run_features",
    "hub": "hub_access",
    "importing": "runs.importing",
    "model_card": "runs.model_card",
    "pickled": "backbones.weights.pickled",
    "predicting": "collections.predicting",
    "prompts.forward": "prompts.interpreters.fast",
    "prompts.kept": "methods.sessions",
    "prompts.known": "prompts.interpreters.fixed",
    "prompts.packing": "prompts.interpreters.packing",
    "protocols.common": "protocols.protocol_records",
    "recipes": "fitting.recipes",
    "results.attention": "report.attention",
    "results.calibration": "scoring.calibration",
    "results.comparison": "report.comparison",
    "results.curves": "report.curves",
    "results.evidence": "report.what_can_be_shown",
    "results.gains": "report.gains",
    "results.gathering": "report.gathering",
    "results.insides": "report.what_was_learned",
    "results.mistakes": "report.mistakes",
    "results.movement": "report.label_movement",
    "results.outcome": "fitting.outcome",
    "results.overview": "report.overview",
    "results.pages": "report.html_pages",
    "results.panels": "report.protocol_panels",
    "results.plane": "report.base_against_new",
    "results.plots": "report.plots",
    "results.predictions": "runs.predictions_file",
    "results.published": "report.published_figures",
    "results.records": "runs.records",
    "results.rejection": "scoring.rejection",
    "results.report": "report.run_report",
    "results.scoring": "runs.scoring_runs",
    "results.sheets": "report.sheet_formats",
    "results.sureness": "report.reliability",
    "report.text_tables": "report.sheet_formats",
    "results.tables": "report.run_tables",
    "results.thumbnails": "report.thumbnails",
    "results.words": "report.nearest_words",
    "run": "runs.run",
    "scoring.outcome": "fitting.outcome",
    "scoring.scoring_runs": "runs.scoring_runs",
    "serving.options": "serving.serve_options",
    "sharding": "collections.shards",
    "sharing": "runs.hub",
    "studio.bringing": "studio.bulk_upload",
    "studio.drawing": "studio.page_figures",
    "studio.sessions": "studio.tab_sessions",
    "sweeps.cells": "sweeps.grid_cells",
    "sweeps.cluster": "sweeps.ray_workers",
    "sweeps.local": "sweeps.local_workers",
    "sweeps.packs": "sweeps.feature_packs",
    "sweeps.running": "sweeps.job",
    "sweeps.settings": "sweeps.sweep_file",
    "training.inputs": "feeding.inputs",
    "training.log": "training.run_log",
    "training.options": "training.train_options",
    "training.progress": "training.progress_bar",
    "training.seeds": "seeds",
}

# single names that a room has handed to another
NAMES = {
    "data": {
        "CacheInfo": "feeding.feature_cache",
        "FeatureCache": "feeding.feature_cache",
        "feature_key": "feeding.feature_cache",
        "take_view": "feeding.views",
        "view_key": "feeding.views",
    }
}


def moved_name(module: str, name: str) -> Any:
    """For a module's `__getattr__`: what `NAMES` says the name is now, with a warning; AttributeError for others."""
    home = NAMES.get(module.partition(".")[2], {}).get(name)
    if home is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    new = f"vlprompt.{home}"
    warnings.warn(
        f"{module}.{name} is now {new}.{name}; the old name goes with version {GONE_IN}",
        DeprecationWarning,
        stacklevel=3,
    )
    return getattr(importlib.import_module(new), name)


class _Finder:
    """Finds and makes modules. Without importlib's base classes, whose import would be a tenth of `vlprompt --help`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        room, _, old = name.partition(".")
        if room != "vlprompt" or (old not in MOVED and old not in PACKAGES):
            return None
        return importlib.util.spec_from_loader(name, self, is_package=old in PACKAGES)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        old = spec.name.partition(".")[2]
        if old not in MOVED:
            return None
        new = f"vlprompt.{MOVED[old]}"
        warnings.warn(
            f"{spec.name} is now {new}; the old name goes with version {GONE_IN}",
            DeprecationWarning,
            stacklevel=2,
        )
        found = importlib.import_module(new)
        module = ModuleType(spec.name)
        module.__dict__.update({k: v for k, v in vars(found).items() if not k.startswith("__")})
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Old names resolve from here on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())

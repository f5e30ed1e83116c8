"""The backbones that the page offers: named when the studio starts, loaded when one is first used."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlprompt.backbones.loading import load_backbone
from vlprompt.backbones.spec import BackboneSpec
from vlprompt.errors import OptionError, RunError, nearest

if TYPE_CHECKING:
    from vlprompt.backbones.backbone import Backbone


class Backbones:
    """names: as `load_backbone` takes them; the first is the page's default. Nobody at the page can name others,
    so that no path is opened and nothing downloaded that was not meant to be."""

    def __init__(
        self, names: Sequence[str] = ("embedded",), device: str = "auto", precision: str = "float32"
    ) -> None:
        self.names = tuple(dict.fromkeys(names)) or ("embedded",)
        self._device, self._precision = device, precision
        self._loaded: dict[str, Backbone] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Backbone:
        if name not in self.names:
            raise OptionError(f'no backbone "{name}": {nearest(name, self.names)}')
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = load_backbone(BackboneSpec(name, self._device, self._precision))
            return self._loaded[name]

    def of_fingerprint(self, fingerprint: str, source: str) -> tuple[str, Backbone]:
        """The backbone that a run was learned on; RunError if it is none of these."""
        for name in sorted(self.names, key=lambda name: name != source):
            backbone = self.get(name)
            if backbone.fingerprint == fingerprint:
                return name, backbone
        raise RunError(
            f'this was learned on another backbone, "{source}": start the studio with --backbone {source} to use it'
        )

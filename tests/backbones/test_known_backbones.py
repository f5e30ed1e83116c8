"""The table of known models: every name can be named, and says what it costs."""

from __future__ import annotations

from vlprompt.backbones.known_backbones import known_backbones
from vlprompt.backbones.locating import NAMED, hub_name


def test_every_name_can_be_named() -> None:
    found = known_backbones()
    assert len({one.name for one in found}) == len(found) > 40
    assert NAMED.keys() <= {one.name for one in found}
    for one in found:
        assert hub_name(one.name)
        assert one.pixels > 0 and one.megabytes > 100 and one.licence and one.family
        assert one.zero_shot is None or 40 < one.zero_shot < 90
    assert not next(one for one in found if one.needs == "timm").visual_prompts

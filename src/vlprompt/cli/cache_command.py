"""vlprompt cache: image features kept on disk."""

from __future__ import annotations

from typing import Annotated

import typer

from vlprompt.cli.console import say
from vlprompt.errors import OptionError, nearest


def cache(
    action: Annotated[str, typer.Argument(metavar="info|clear", help="show it, or empty it")] = "info",
) -> None:
    """Image features kept on disk: where, how much; or empty it.

    A picture is encoded once per backbone and view. VLPROMPT_CACHE names
    another folder (or off), VLPROMPT_CACHE_GB the most it may take.

    \b
    vlprompt cache info
    vlprompt cache clear
    """
    if action not in ("info", "clear"):
        raise OptionError(f'cache: no action "{action}": {nearest(action, ("info", "clear"))}')
    from vlprompt.feeding.feature_cache import FeatureCache

    kept = FeatureCache()
    if kept.path is None:
        say("there is no cache (VLPROMPT_CACHE is off)")
        return
    info = kept.info() if action == "info" else kept.clear()
    size = f"{info.entries} arrays, {info.bytes / 2**20:.1f} MB"
    if action == "clear":
        say(f"{info.path}: emptied ({size})")
    else:
        say(f"{info.path}: {size}, at most {kept.limit / 2**30:g} GB")

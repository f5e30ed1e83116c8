"""What a learned method is called in words."""

from __future__ import annotations

from vlprompt.methods.base import Method


def title(method: Method) -> str:
    base = getattr(method, "base", None)
    return f"{base.title} + {method.title}" if isinstance(base, Method) and base.learns else method.title

"""What a checkpoint of published code says of its settings: the shapes of its learned tensors, by their names there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from vlprompt.errors import RunError

LEARNER = "prompt_learner."
CONTEXT = f"{LEARNER}ctx"
# a context and the small network that CoCoOp and TCP have beside it -> our names
META_NET = {CONTEXT: "context"} | {
    f"{LEARNER}meta_net.{theirs}.{part}": f"{ours}.{part}"
    for theirs, ours in (("linear1", "reduce"), ("linear2", "expand"))
    for part in ("weight", "bias")
}
VISUAL = "image_encoder.VPT"
VISUAL_DEEP = "image_encoder.transformer.resblocks.{}.VPT_shallow"
TEXT_DEEP = "text_encoder.transformer.resblocks.{}.VPT_shallow"


class PublishedShapes:
    """Shapes by tensor name. where: the file; method: as which it is read; likely: what it looks like."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], where: str, method: str, likely: str) -> None:
        self._shapes, self._where, self._method, self._likely = shapes, where, method, likely

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def shape(self, name: str, dims: Sequence[int]) -> tuple[int, ...]:
        """The shape of a tensor that has to be there, with one of these numbers of dimensions; else RunError."""
        if name not in self._shapes:
            raise RunError(
                f"{self._where}: no tensor {name} in it, as {self._method} has; it looks like {self._likely}"
            )
        found = self._shapes[name]
        if len(found) not in dims:
            expected = " or ".join(map(str, dims))
            raise RunError(f"{self._where}: {name} has shape {list(found)}: expected {expected} sizes")
        return found

    def count(self, pattern: str, start: int) -> int:
        """How many tensors of a numbered series there are without a gap."""
        number = start
        while pattern.format(number) in self._shapes:
            number += 1
        return number - start


def marked(names: Sequence[str], marks: Sequence[str]) -> bool:
    """Whether every mark, a name or a pattern of names, is among the names of a checkpoint's tensors."""
    return bool(marks) and all(any(fnmatchcase(name, mark) for name in names) for mark in marks)

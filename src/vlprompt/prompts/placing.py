"""Where learned context and class name stand: the name at the end, in the middle or in front.

end: [SOS][v_1]..[v_n][name].[EOT]   middle: half of them on either side   front: [SOS][name][v_1]..[v_n].[EOT]
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vlprompt.prompts.tokens import TextPrompt

POSITIONS = ("end", "middle", "front")


class Placing:
    """Puts contexts of n vectors and class names together.

    frozen: the prompts of a template with n words (or placeholders) before the name; prefix [SOS] alone.
    """

    def __init__(self, frozen: TextPrompt, n: int, position: str = "end") -> None:
        self.frozen, self.n, self.position = frozen, n, position
        self.ahead = {"end": n, "middle": n // 2, "front": 0}[position]  # context tokens before the name
        longest = max(frozen.lengths)
        rows = []
        for count in frozen.label_counts:  # order over the pool [context | tokens behind the placeholders]
            behind = [n + j for j in range(longest - n)]
            rows.append([*range(self.ahead), *behind[:count], *range(self.ahead, n), *behind[count:]])
        self._order = torch.tensor(rows, device=frozen.suffix.device)

    def shared(self, context: Tensor) -> TextPrompt:
        """One context for all classes, [n, D], as far as possible in the prefix.

        With the name at the end also [G, n, D]: every context over all classes.
        """
        frozen, tail = self.frozen, self.frozen.suffix[:, self.n :]
        groups = context if context.dim() == 3 else context[None]
        prefix = torch.cat([frozen.prefix.expand(len(groups), -1, -1), groups[:, : self.ahead]], dim=1)
        suffix = tail
        if self.position != "end":
            assert len(groups) == 1
            pool = torch.cat([groups.expand(len(tail), -1, -1), tail], dim=1)
            suffix = self._arranged(pool, 1, self.ahead)
        return self._prompt(prefix, suffix, 1, self.ahead)

    def rows(self, context: Tensor) -> TextPrompt:
        """One context per row, [R, n, D] with R a multiple of C; the rows repeat the classes in their order."""
        tail = self.frozen.suffix[:, self.n :]
        repeats = context.shape[0] // len(tail)
        pool = torch.cat([context, tail.repeat(repeats, 1, 1)], dim=1)
        suffix = pool if self.position == "end" else self._arranged(pool, repeats, 0)
        return self._prompt(self.frozen.prefix, suffix, repeats, 0)

    def _arranged(self, pool: Tensor, repeats: int, start: int) -> Tensor:
        order = self._order[:, start:].repeat(repeats, 1)
        return pool.gather(1, order[..., None].expand(-1, -1, pool.shape[-1]))

    def _prompt(self, prefix: Tensor, suffix: Tensor, repeats: int, shared: int) -> TextPrompt:
        frozen = self.frozen
        times = (
            1 if isinstance(repeats, torch.SymInt) else repeats
        )  # an exported program's rows are not counted
        return replace(
            frozen,
            prefix=prefix,
            suffix=suffix,
            lengths=tuple(n - shared for n in frozen.lengths) * times,
            label_start=self.ahead - shared,
            label_counts=frozen.label_counts * times,
            repeats=repeats,
        )

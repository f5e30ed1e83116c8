"""Growing by sessions: classes that were learned earlier and do not change any more, when others arrive.

A method with tensors of each class's own is `Growing`: it says which (`by_class`), and reads them with `rows`. When further
classes arrive (`extend`), the rows of earlier ones become buffers (`KeptClasses`), all that the classes share is frozen, and
the rows of the new ones learn. `Sessions` is a method once for each session's classes, so that a pass over them does not
depend on any that came later and gives the same bits as when the session ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.errors import OptionError
from vlprompt.methods.base import Method, set_parameter
from vlprompt.methods.batch import Seen
from vlprompt.prompts.tokens import Output, Text
from vlprompt.prompts.words import check_names


class KeptClasses(nn.Module):
    """Buffers, so that they are saved and never trained.

    sizes: [S], how many classes each earlier session brought; their sum is K. tensors: by name, [K, ...] each, what
    was learned of the classes.
    """

    sizes: Tensor

    def __init__(self, sizes: Sequence[int], tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = tuple(tensors)
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
        device = next(iter(tensors.values())).device
        self.register_buffer("sizes", torch.tensor(list(sizes), device=device))
        self._counts = tuple(sizes)  # as plain numbers, which an exported program can be made of

    @classmethod
    def found_in(
        cls, state_dict: Mapping[str, Tensor], prefix: str, names: Sequence[str], device: torch.device
    ) -> KeptClasses | None:
        """Those that a saved state has, if any. prefix: of the method's names in it."""
        places = {name: f"{prefix}kept.{name}" for name in (*names, "sizes")}
        if not all(place in state_dict for place in places.values()):
            return None
        held = {name: state_dict[place].to(device) for name, place in places.items()}
        return cls(held.pop("sizes").tolist(), held)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        state_dict.pop(f"{prefix}features", None)  # runs of former releases kept text features too
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._counts = tuple(self.sizes.tolist())

    def __len__(self) -> int:
        return sum(self._counts)

    def __getitem__(self, name: str) -> Tensor:
        return getattr(self, name)

    def blocks(self) -> list[range]:
        """The classes of each earlier session."""
        stops = [0, *accumulate(self._counts)]
        return [range(a, b) for a, b in pairwise(stops)]


class Growing(Method):
    """A method some of whose tensors have a row for each class.

    by_class: their names. A subclass gives `session_texts` in place of `texts`, and reads these tensors with `rows`;
    `compare` gets the features of all classes. With other class names it keeps the rows of those that it knows;
    OptionError for others (`takes_new_names` is False).
    """

    by_class: ClassVar[tuple[str, ...]] = ()
    kept: KeptClasses | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kept = None  # classes of earlier sessions

    def session_texts(self, classes: range, seen: Seen | None = None) -> Sequence[Text]:
        """The texts of some classes, each by itself: nothing in them depends on the others."""
        raise NotImplementedError

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        return [text for block in self.blocks() for text in self.session_texts(block, seen)]

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        return super().compare(seen, Sessions.joined(features, self.blocks()))

    def blocks(self) -> list[range]:
        """The classes of each session, the last of which learns."""
        first = 0 if self.kept is None else len(self.kept)
        earlier = [] if self.kept is None else self.kept.blocks()
        return [*earlier, range(first, len(self.task.class_names))]

    def rows(self, name: str) -> Tensor:
        """A tensor of all classes, [C, ...], kept rows first."""
        own = getattr(self, name)
        return own if self.kept is None else torch.cat([self.kept[name], own])

    @torch.no_grad()
    def extend(self, names: Sequence[str]) -> Method:
        """The same with further classes, whose rows alone go on learning; texts of earlier ones keep every bit."""
        task = replace(self.task, class_names=check_names([*self.task.class_names, *names]))
        generator = torch.Generator().manual_seed(len(self.task.class_names))
        other = type(self)(self.backbone, task, self.options, generator)
        other.load_state_dict(
            {
                k: v
                for k, v in self.state_dict().items()
                if k not in self.by_class and not k.startswith("kept.")
            },
            strict=False,
        )
        sizes = [len(block) for block in self.blocks()]
        other.keep(KeptClasses(sizes, {name: self.rows(name).detach().clone() for name in self.by_class}))
        other.interpreter.budget = self.interpreter.budget
        return other.train(self.training)

    @torch.no_grad()
    def keep(self, kept: KeptClasses) -> None:
        """Takes the first classes as learned; nothing but the rows of the others remains to be learned."""
        self.requires_grad_(False)
        for name in self.by_class:
            setattr(self, name, nn.Parameter(getattr(self, name)[len(kept) :].clone()))
        self.kept = kept

    def for_classes(self, names: Sequence[str]) -> Method:
        known = {name: i for i, name in enumerate(self.task.class_names)}
        if any(name not in known for name in names):
            return self.refuse(names)
        other = type(self)(self.backbone, replace(self.task, class_names=tuple(names)), self.options)
        for name, value in self.named_parameters():
            if name not in self.by_class:
                set_parameter(other, name, value)
        order = torch.tensor([known[name] for name in names], device=self.backbone.device)
        for name in self.by_class:
            whole = tuple(names) == self.task.class_names and self.kept is None
            own = getattr(self, name) if whole else nn.Parameter(self.rows(name).detach()[order])
            setattr(other, name, own)
        return other.train(self.training)

    def refuse(self, names: Sequence[str]) -> Method:
        """OptionError: what is learned belongs to the classes."""
        raise OptionError(
            f"{self.facts.title} knows only the classes it was trained on: use a method that learns what all classes share"
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A saved state with kept classes makes room for them first."""
        if self.kept is None:
            held = KeptClasses.found_in(state_dict, prefix, self.by_class, self.backbone.device)
            if held is not None:
                self.keep(held)
        super()._load_from_state_dict(state_dict, prefix, *args)


class Sessions:
    """A method for the classes of each session, with the very tensors that it has learned; made when needed."""

    def __init__(self) -> None:
        self._made: tuple[list[int], list[tuple[Method, range]]] | None = None

    def of(self, method: Method, blocks: Sequence[range]) -> list[tuple[Method, range]]:
        """The method for each block of its classes."""
        tensors = [id(p) for p in method.parameters()]
        traced = torch.compiler.is_compiling()  # then others stand in for them
        if self._made is None or (self._made[0] != tensors and not traced):
            names = method.task.class_names
            own = [method.for_classes(names[block.start : block.stop]) for block in blocks]
            self._made = tensors, list(zip(own, blocks, strict=True))
        return self._made[1]

    def train(self, mode: bool) -> None:
        for method, _ in self._made[1] if self._made is not None else []:
            method.train(mode)

    def __getstate__(self) -> dict[str, object]:
        return {"_made": None}  # known by addresses, which mean nothing in a copy

    @staticmethod
    def joined(features: Sequence[Tensor], blocks: Sequence[range]) -> list[Tensor]:
        """The features of each session's texts, [G, classes of the session, d], side by side: [G, C, d].

        Texts that do not run through the classes are those of the last session.
        """
        if len(blocks) == 1:
            return list(features)
        count = len(features) // len(blocks)
        sizes, found = [len(block) for block in blocks], []
        for i in range(count):
            parts = features[i::count]
            by_class = [part.shape[1] for part in parts] == sizes
            found.append(torch.cat(list(parts), dim=1) if by_class else parts[-1])
        return found


def widen(tokens: Tensor, mask: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Label tokens [C, L, D] and their mask [C, L] with at least `length` places; the added ones are empty."""
    more = max(0, length - tokens.shape[1])
    return F.pad(tokens, (0, 0, 0, more)), F.pad(mask, (0, more))

"""What is known of a method without running it: one frozen record, which is all that other rooms ask.

A method file holds `FACTS`, a record (or a dict of records by name, where a file holds several methods), and its
class names it: `facts = FACTS`. Since the record is made of plain values, `read_facts` reads it without importing
the file, and with it torch: lists, completion and figures stay quick. Wrappers compose records (`Facts.under`).
"""

from __future__ import annotations

import ast
from collections.abc import Set
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from vlprompt.errors import OptionError

Need = Literal["features", "patches", "patch_states", "pixels"]
ALL_CLASSES = "text tower over all classes"


@dataclass(frozen=True)
class Recipe:
    """Training settings as published for a method (ViT-B/16); any of them can be overridden."""

    epochs: int = 50
    batch: int = 32
    lr: float = 0.002
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: int = 1
    warmup_lr: float = 1e-5
    schedule: str = "epoch"  # the rate falls from epoch to epoch, or from step to step; or is constant
    final_lr: float = 0.0  # where the cosine ends


@dataclass(frozen=True)
class Facts:
    """Title and paper, what a method is fed and learns, what it promises, and how figures show it.

    needs: what a batch holds. "features": unit-length features of the frozen image tower, encoded once; "patches":
        its patch tokens too; "patch_states": what stands at each patch (`Backbone.patch_states`); "pixels": preprocessed pictures. "pixels" and "features" together: the frozen tower's
        features of the very same view beside the pixels.
    """

    title: str
    paper: str = ""
    link: str = ""  # of the paper
    order: int = 1000  # place in lists of methods
    needs: Set[str] = frozenset({"features"})
    per_step: str = ALL_CLASSES  # what is recomputed in every step, in words
    recipe: Recipe = Recipe()
    learns: bool = True
    trains: bool = True  # takes steps in the training loop; if not, `prepare` learns all there is
    takes_new_names: bool = True  # `for_classes` takes names that it was not trained on
    grows: bool | None = (
        None  # takes further classes that it then learns (`extend`); None: if it takes new names
    )
    prompts_hold_names: bool = True  # a wrapper that learns names has something to wrap
    per_image_text: bool = False  # text features differ by picture: [B, C, d]
    independent_classes: bool = True  # a logit does not depend on which other classes there are
    zero_shot_start: bool = False  # logits equal zero-shot before training
    says_template: bool = (
        False  # a data set's own template stands in for one that is not given, as in its paper
    )
    code_published: bool = True  # if not, what it does was read off the paper
    wraps: bool = False  # goes on top of another method: `other+name`
    plain_words: str = ""  # what it changes, for people who never read a paper
    slow: bool = False  # without a GPU
    shown_patches: bool = False  # before training it looks at what stands at the training pictures' patches
    colour: str = ""  # of its lines in figures, #rrggbb
    marker: str = "X"  # of its points, as matplotlib names them
    learns_words: bool = True  # learns vectors that can be read as words, or prompts that look at places
    no_map: str = ""  # why there is no map of where it looks, if one might expect one
    # names, or patterns of names, of tensors that tell the published code's checkpoints; none: they are not read
    published_marks: tuple[str, ...] = ()
    published_unused: tuple[str, ...] = ()  # patterns of names of tensors that stand in them and do nothing
    published_under: tuple[str, ...] = ()  # wrappers that its published code has, with checkpoints of both
    # where the published LAMM code writes label tokens and how many, if not at the name and the smallest name's count
    published_label_position: int | None = None
    published_label_tokens: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "needs", frozenset(self.needs))
        wrong = self.needs - set(get_args(Need))
        if wrong or not self.needs:
            raise OptionError(
                f"{self.title}: needs is {sorted(self.needs)}: expected some of {', '.join(get_args(Need))}"
            )

    @property
    def takes_steps(self) -> bool:
        return self.learns and self.trains

    @property
    def takes_further_classes(self) -> bool:
        return self.takes_new_names if self.grows is None else self.grows

    @property
    def cached(self) -> bool:
        """Whether frozen features of the pictures are all that it is fed."""
        return self.needs == {"features"}

    def under(self, wrapper: Facts) -> Facts:
        """The facts of a wrapper around this method."""
        step = self.per_step if "text" in self.per_step or self.per_step == "both towers" else ""
        named = replace(
            self if self.learns else wrapper,
            paper=wrapper.paper,
            link=wrapper.link,
            order=self.order if self.learns else wrapper.order,
            needs=self.needs,
            per_step=(step or f"{self.per_step}, {ALL_CLASSES}") if self.learns else ALL_CLASSES,
            learns=True,
            trains=True,
            takes_new_names=self.takes_new_names,
            grows=None,
            prompts_hold_names=False,  # the wrapper has put its own in their place
            per_image_text=self.per_image_text,
            independent_classes=self.independent_classes,
            zero_shot_start=self.zero_shot_start and wrapper.zero_shot_start,
            says_template=wrapper.says_template,
            wraps=False,
            learns_words=True,
            published_marks=wrapper.published_marks,
            published_under=(),
            published_unused=self.published_unused,
            published_label_position=None,
            published_label_tokens=None,
        )
        if not self.learns:
            return named
        return replace(
            named,
            title=f"{self.title} + {wrapper.title}",
            plain_words=f"{self.plain_words}, and {wrapper.plain_words}" if self.plain_words else "",
        )


@lru_cache(maxsize=64)
def read_facts(file: Path, name: str) -> dict[str, Facts]:
    """The records of a method file by the names of its methods, without importing it. name: of the file.

    Empty for a file that has no FACTS.
    """
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        if any(isinstance(target, ast.Name) and target.id == "FACTS" for target in targets):
            assert isinstance(node, ast.Assign)
            try:
                found = _record(node.value)
            except ValueError as error:
                raise ValueError(f"{file.name}: FACTS has to be made of plain values: {error}") from error
            return found if isinstance(found, dict) else {name: found}
    return {}


def _record(node: ast.expr) -> Any:
    """Values of plain literals, `Facts(...)` and `Recipe(...)`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _RECORDS:
        return _RECORDS[node.func.id](**{str(k.arg): _record(k.value) for k in node.keywords})
    if isinstance(node, ast.Dict):
        return {_record(k): _record(v) for k, v in zip(node.keys, node.values, strict=True) if k is not None}
    return ast.literal_eval(node)


_RECORDS: dict[str, type[Any]] = {"Facts": Facts, "Recipe": Recipe}

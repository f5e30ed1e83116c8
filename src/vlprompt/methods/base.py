"""The contract of a method: it turns what it has learned into prompts, and outputs into a loss.

A method owns its learned tensors (float32 parameters) and nothing else; the backbone is not part
of its state. The loop, the interpreters and the protocols know only what is declared here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.backbone import Backbone
from vlprompt.data.task import Task
from vlprompt.options import OptionSet
from vlprompt.prompts.interpreters.fast import Fast
from vlprompt.prompts.tokens import Output, Prompts, TextPrompt

Needs = Literal["features", "patches", "pixels"]
Edit = Callable[[TextPrompt], TextPrompt]
M = TypeVar("M", bound="Method")


@dataclass(frozen=True)
class Batch:
    """What the loop feeds: unit-length features [B, d] of the frozen image tower, or patches
    (features [B, d] and patch tokens [B, N, d]), or preprocessed pixels [B, 3, H, W]."""

    features: Tensor | None = None
    patches: Tensor | None = None
    pixels: Tensor | None = None

    def __len__(self) -> int:
        return len(next(t for t in (self.features, self.pixels) if t is not None))


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


class Method(nn.Module):
    """Base of all methods; a subclass gives at least `prompts`.

    backbone: frozen; task: class names, templates, shots; options: the method's own dataclass.
    generator: source of random initial values; made from the seed if not given.
    """

    backbone: Backbone
    options: Any  # an instance of the subclass's own Options
    Options: ClassVar[type[OptionSet]] = OptionSet
    title: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    needs: Needs = "features"
    recipe: ClassVar[Recipe] = Recipe()
    per_image_text: ClassVar[bool] = False  # text features differ by picture: [B, C, d]
    learns: ClassVar[bool] = True
    trains: ClassVar[bool] = True  # takes steps in the training loop; if not, `prepare` learns all there is
    zero_shot_start: ClassVar[bool] = False  # logits equal zero-shot before training
    says_template: ClassVar[bool] = (
        False  # a data set's own template stands in for one that is not given, as in its paper
    )
    new_names: ClassVar[bool] = True  # `for_classes` takes names that it was not trained on
    independent_classes: ClassVar[bool] = True  # a logit does not depend on which other classes there are
    per_step: ClassVar[str] = "text tower over all classes"
    # where the published LAMM code writes label tokens and how many, if not at the name and the
    # smallest name's token count
    published_label_position: int | None = None
    published_label_tokens: int | None = None

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        options: OptionSet | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        # not registered as a module: the backbone never becomes part of the method's state
        self.__dict__["backbone"] = backbone
        self.task = task
        self.options = options if options is not None else self.Options()
        self.interpreter = Fast(backbone)
        self.generator = generator if generator is not None else torch.Generator().manual_seed(0)

    # -- what a subclass says ------------------------------------------------------------------

    def prompts(self, image_features: Tensor | None = None) -> Prompts:
        """The prompts to evaluate; image_features [B, d] for methods whose text depends on the picture."""
        raise NotImplementedError

    def prepare(self, features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor) -> None:
        """Called once before training with the frozen features of the training pictures, [V, N, d] (V views),
        and of the validation pictures, [M, d], perhaps none. Not for methods that need pixels."""

    def loss(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """Named, unweighted terms of the loss; labels: [B] class indices."""
        return {"ce": F.cross_entropy(output.logits, labels)}

    def loss_weights(self) -> dict[str, float]:
        """Weight of each term; 1 where a term is not named."""
        return {}

    def for_classes(self, names: Sequence[str]) -> Method:
        """The same learned tensors with other class names; nothing is copied that learns."""
        other = type(self)(self.backbone, replace(self.task, class_names=tuple(names)), self.options)
        own = dict(self.named_parameters())
        for name, _ in list(other.named_parameters()):
            set_parameter(other, name, own[name])
        other.interpreter = type(self.interpreter)(self.backbone)
        return other.train(self.training)

    @classmethod
    def takes_new_names(cls, options: Any) -> bool:
        """Whether `for_classes` takes names that it was not trained on, with these options of its own."""
        return cls.new_names

    def extend(self, names: Sequence[str]) -> Method:
        """A method for the old classes and new ones that goes on learning (class-incremental).

        Methods whose tensors belong to no class simply take the longer list of names.
        """
        return self.for_classes([*self.task.class_names, *names])

    def learned_context(self) -> Tensor | None:
        """The context tokens in the space of word embeddings, [n, D], or [P, n, D] of several prompts; None without."""
        own = getattr(self, "context", None)
        return own.detach() if isinstance(own, Tensor) else None

    def published_names(self) -> dict[str, str]:
        """Tensor names of the published code's checkpoints -> names of ours."""
        return {}

    # -- what all share ------------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """As in torch; in evaluation the text features of equal prompts are computed once, not for every batch."""
        if isinstance(self.interpreter, Fast):
            self.interpreter.remember_texts(not mode and not self.per_image_text)
        return super().train(mode)

    def forward(self, batch: Batch, edit: Edit | None = None) -> Output:
        """Logits and both sets of features of a batch.

        edit: changes the text prompts before they are evaluated (LAMM puts its label tokens in);
        rows that it adds become further columns of logits and text features.
        """
        image = batch.features
        if self.needs != "pixels" or self.per_image_text:
            image = self.frozen_features(batch)
        prompts = self.prompts(image if self.per_image_text else None)
        if self.needs == "pixels":
            assert batch.pixels is not None
            image = self.interpreter.image(batch.pixels, prompts.image)
        assert image is not None
        text = self.interpreter.text(prompts.text if edit is None else edit(prompts.text))
        return self.output(image, text if self.per_image_text else text[0])

    def frozen_features(self, batch: Batch) -> Tensor:
        """Features of the frozen image tower, [B, d], computed where the batch has only pixels."""
        if batch.features is not None:
            return batch.features
        assert batch.pixels is not None
        return self.interpreter.image(batch.pixels)

    def output(self, image: Tensor, text: Tensor, **extra: Tensor) -> Output:
        return Output(self.logits(image, text), image, text, extra)

    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        """scale * cosine: image [B, d] with text [C, d] or [B, C, d] -> [B, C]."""
        return self.backbone.logits(image, text)

    def total_loss(self, terms: dict[str, Tensor]) -> Tensor:
        weights = self.loss_weights()
        return torch.stack([value * weights.get(name, 1.0) for name, value in terms.items()]).sum()

    def normal(self, *shape: int, std: float = 0.02) -> nn.Parameter:
        """A parameter drawn from N(0, std^2) on the backbone's device, the same on every device."""
        return nn.Parameter((torch.randn(*shape, generator=self.generator) * std).to(self.backbone.device))

    def linear(self, inputs: int, outputs: int) -> nn.Linear:
        """A linear layer with torch's initial distribution, drawn from the method's generator."""
        layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
        bound = inputs**-0.5
        for tensor in (layer.weight, layer.bias):
            nn.init.uniform_(tensor, -bound, bound, generator=self.generator)
        return layer.to(self.backbone.device)

    def trainable_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def set_parameter(module: nn.Module, name: str, value: nn.Parameter) -> None:
    """Makes `value` the parameter of that dotted name (the very tensor, not a copy)."""
    *path, last = name.split(".")
    for part in path:
        module = getattr(module, part)
    setattr(module, last, value)

"""The contract of a method: it turns what it has learned into prompts, and features into logits and a loss.

Its forward pass has three parts, and the base class puts them together: `see` (what it takes from the pictures), `texts`
(what the text tower is to read), `compare` (logits from both). Who wraps a method edits the texts; who needs its texts
once for many batches, or as constants of a program, hands their features in.

A method owns its learned tensors (float32 parameters) and nothing else; the backbone is not part of its state. The loop,
the interpreters and the protocols know only what is declared here and in its facts (`methods/facts.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.backbone import Backbone
from vlprompt.data.task import Task
from vlprompt.methods import former
from vlprompt.methods.batch import Batch, Seen
from vlprompt.methods.facts import Facts, Recipe
from vlprompt.methods.parameter_groups import ParameterGroup
from vlprompt.methods.published import PublishedShapes
from vlprompt.methods.reading import frozen_features, read
from vlprompt.options import OptionSet
from vlprompt.prompts.interpreters.fast import Fast
from vlprompt.prompts.interpreters.interpreter import Interpreter
from vlprompt.prompts.tokens import FrozenText, Output, Prompts, Text
from vlprompt.prompts.words import check_names, check_tokens

__all__ = ["Batch", "Facts", "Method", "Recipe", "Seen", "set_parameter"]


class Method(nn.Module):
    """Base of all methods; a subclass gives its facts and at least `texts`.

    backbone: frozen; task: class names, templates, shots; options: the method's own dataclass.
    generator: source of random initial values; made from the seed if not given.
    """

    backbone: Backbone
    options: Any  # an instance of the subclass's own Options
    Options: ClassVar[type[OptionSet]] = OptionSet
    facts: Facts = Facts(title="")  # of the class; an instance has those that its options make of them
    alone: ClassVar[type[Method] | None] = None  # what a wrapper goes around where no other method is named
    interpreter: Interpreter

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        former.adopt(cls)

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
        check_tokens(check_names(task.class_names), backbone.tokenizer)
        self.task = task
        self.options = options if options is not None else self.Options()
        self.facts = self.facts_of(self.options)
        self.interpreter = Fast(backbone)
        self.generator = generator if generator is not None else torch.Generator().manual_seed(0)

    # -- what a subclass says ------------------------------------------------------------------

    @classmethod
    def facts_of(cls, options: Any) -> Facts:
        """The facts with these options, where they depend on options."""
        return cls.facts

    def see(self, batch: Batch) -> Seen:
        """What is taken from the pictures; if not said otherwise, features (and patches) of the frozen tower.

        What stands at each patch, where the facts ask for it, is `extra["states"]`.
        """
        features, patches, states = batch.features, batch.patches, batch.patch_states
        if "patch_states" in self.facts.needs:
            if features is None or states is None:
                assert batch.pixels is not None
                features, states = self.backbone.patch_states(batch.pixels)
            return Seen(features, extra={"states": states})
        if "patches" in self.facts.needs and patches is None:
            assert batch.pixels is not None
            with torch.no_grad():
                features, patches = self.backbone.patch_features(batch.pixels)
        return Seen(self.frozen_features(batch) if features is None else features, patches)

    def texts(self, seen: Seen | None = None) -> Sequence[Text]:
        """What the text tower is to read. seen: the batch's pictures, for texts that depend on them."""
        raise NotImplementedError

    def named_texts(self, seen: Seen | None = None) -> Sequence[Text]:
        """The texts with the class names in them, also where a wrapper puts others in their places."""
        return self.texts(seen)

    def compare(self, seen: Seen, features: Sequence[Tensor]) -> Output:
        """Logits, from what was seen and the features of each text, [G, C, d] (G = B if they differ by picture)."""
        (text,) = features
        return self.output(seen.features, text if self.facts.per_image_text else text[0])

    def prepare(self, features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor) -> None:
        """Called once before training with the frozen features of the training pictures, [V, N, d] (V views),
        and of the validation pictures, [M, d], perhaps none. Not for methods that need pixels."""

    def prepare_patches(self, states: Tensor, labels: Tensor) -> None:
        """Called before `prepare` where the facts ask for it (`shown_patches`), with what stands at the patches of
        training pictures, or of some of each class where there are many: [N, patches, width] (`Backbone.patch_states`)."""

    def loss(self, output: Output, labels: Tensor) -> dict[str, Tensor]:
        """Named, unweighted terms of the loss; labels: [B] class indices."""
        return {"ce": F.cross_entropy(output.logits, labels)}

    def loss_weights(self) -> dict[str, float]:
        """Weight of each term; 1 where a term is not named."""
        return {}

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """Learned tensors with an optimiser of their own kind or rate; the others learn as the training says."""
        return ()

    def end_of_epoch(self, epoch: int, epochs: int) -> None:
        """Called after the last step of each epoch (counted from 0) of so many, before anything is scored.

        What only the training needs, such as a running mean, is a buffer with persistent=False: it is in checkpoints,
        so that a training that was interrupted ends in the same numbers, and not in the saved run.
        """

    def for_classes(self, names: Sequence[str]) -> Method:
        """The same learned tensors with other class names; nothing is copied that learns."""
        other = type(self)(self.backbone, replace(self.task, class_names=tuple(names)), self.options)
        own = dict(self.named_parameters())
        for name, _ in list(other.named_parameters()):
            set_parameter(other, name, own[name])
        other.interpreter = type(self.interpreter)(self.backbone)  # type: ignore[call-arg]
        return other.train(self.training)

    def extend(self, names: Sequence[str]) -> Method:
        """A method for the old classes and new ones that goes on learning (class-incremental).

        Methods whose tensors belong to no class simply take the longer list of names.
        """
        return self.for_classes([*self.task.class_names, *names])

    def learned_context(self) -> Tensor | None:
        """The context tokens in the space of word embeddings, [n, D], or [P, n, D] of several prompts; None without."""
        own = getattr(self, "context", None)
        return own.detach() if isinstance(own, Tensor) else None

    def learned_labels(self) -> tuple[Tensor, Tensor] | None:
        """The tokens learned for each class, [C, L, D], and which of them it has, [C, L]; None without."""
        return None

    def patch_weights(self, patches: Tensor) -> Tensor | None:
        """How much the prompt of each class looks at each patch of a picture: [B, N, d] -> [B, C, N], sums of 1.

        None where prompts do not look at pictures.
        """
        return None

    @classmethod
    def published_options(cls, shapes: PublishedShapes, wrapped: bool = False) -> dict[str, Any]:
        """Options that the shapes in a checkpoint of the published code tell. wrapped: by a wrapper's published code."""
        return {}

    def published_names(self) -> dict[str, str]:
        """Tensor names of the published code's checkpoints -> names of ours."""
        return {}

    def prompts(self, image_features: Tensor | None = None) -> Prompts:
        """Deprecated: `texts` gives the same as a list."""
        return former.prompts_of(self, image_features)

    # -- what all share ------------------------------------------------------------------------

    @final  # type: ignore[misc]  # nn.Module declares it as a value
    def forward(self, batch: Batch, texts: Sequence[Tensor] | None = None) -> Output:
        """Logits and both sets of features of a batch. texts: features of its texts, if they are known already."""
        seen = self.see(batch)
        return self.compare(seen, self.read(self.texts(seen)) if texts is None else texts)

    def read(self, texts: Sequence[Text]) -> list[Tensor]:
        """The features of texts, [G, C, d] each; what does not learn is computed once (`methods/reading.py`)."""
        return read(self.interpreter, texts, keep=not self.facts.per_image_text)

    @torch.no_grad()
    def constant_texts(self) -> list[Tensor] | None:
        """Features of the texts for any number of batches, as long as nothing learns; None if they differ by picture."""
        return None if self.facts.per_image_text else self.read(self.texts())

    def frozen_text(self, templates: Sequence[str] | None = None) -> Tensor:
        """Features of the class names in templates (the task's if not given) from the frozen tower, [C, d]."""
        text = FrozenText(self.task.class_names, tuple(templates or self.task.templates))
        return frozen_features(self.interpreter, text)[0]

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
        with torch.random.fork_rng(devices=[]):  # torch's own draw, which is not kept
            layer = nn.Linear(inputs, outputs)
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

"""Checkpoints of the published implementations (`model.pth.tar-N`) become runs.

Written by CoOp and CoCoOp (Zhou et al.), MaPLe, IVLP, VPT and PromptSRC (Khattak et al.), LAMM (Gao et al.), KgCoOp and
TCP (Yao et al.), MMRL and MMRL++ (Guo and Gu) and GalLoP (Lafon et al.), which save {"state_dict", "epoch", ...}; and
what CLIP-LoRA (Zanella and Ben Ayed) learns, under the names that its tensors have in the model. Their tensor names are those of `Method.published_names`, with or
without the leading "prompt_learner."; MaPLe, IVLP and VPT save the whole CLIP beside, which is not read.
Sizes (context length, depth, class-specific contexts, label tokens) are read off the shapes; no shape says
where the class name stands (CoOp) or which words the context started from (IVLP, MaPLe): those are options.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import vlprompt
from vlprompt import methods
from vlprompt.backbones.backbone import Backbone
from vlprompt.backbones.spec import LOOSE, BackboneSpec, with_loose
from vlprompt.backbones.weights.pickled import Stored, open_pickled, tensors_by_name
from vlprompt.data.naming import read_names
from vlprompt.data.task import DEFAULT_TEMPLATE, ZERO_SHOT_TEMPLATES, Task
from vlprompt.errors import OptionError, RunError, nearest
from vlprompt.files import MB, read_file
from vlprompt.locks import alone_in_its_folder
from vlprompt.methods.base import Method, Seen
from vlprompt.methods.published import CONTEXT, LEARNER, PublishedShapes, marked
from vlprompt.prompts.tokens import TextPrompt
from vlprompt.runs.info import DataInfo, ImportedInfo, RunInfo
from vlprompt.runs.records import check_place
from vlprompt.runs.run import Run, backbone_info

# the methods whose facts say what tells their published checkpoints, alone and under wrappers that were published with them
METHODS = tuple(
    name
    for name in methods.names()
    if (facts := methods.facts_of(name)) is not None
    and facts.published_marks
    and (
        (base := methods.without_wrappers(name)) == name
        or name.removeprefix(f"{base}+") in methods.known_facts(base).published_under
    )
)
# made from the class names, or copies; the names given say the same
_BUFFERS = re.compile(r"token_(prefix|suffix|middle)\w*|fix_token\w*")
_BARE = re.compile(r"(ctx|token_\w+|fix_token|meta_net\..*|proj\..*|compound_prompt\w*\..*)$")
_TOWERS = ("image_encoder.", "text_encoder.", "clip_model.", "logit_scale", "token_embedding.")

Shapes = Mapping[str, tuple[int, ...]]


@alone_in_its_folder
def import_checkpoint(
    path: str | Path,
    method: str | None,
    class_names: Sequence[str] | str | Path,
    backbone: str | Path | BackboneSpec | Backbone = "embedded",
    *,
    options: Mapping[str, Any] | None = None,
    template: str = DEFAULT_TEMPLATE,
    shots: int = 16,
    out: str | Path | None = None,
    overwrite: bool = False,
    **loose: Any,
) -> Run:
    """A published checkpoint as a run.

    path: the file. method: one of METHODS; None: what the names of its tensors say. class_names: as it was
    trained with, in label order; or a file of one name a line, or of key, tab, name. backbone: the CLIP it was trained on.
    options: what shapes do not say, such as name_position (coop; "end" if not given) and context_init (ivlp,
    maple; "a photo of a" if not given). template: the words of vpt and lamm, which have no learned context.
    shots: LAMM's losses use it when training goes on. out: folder to save the run in.
    overwrite: replace the run that `out` holds.

    RunError for an `out` that is not empty, for a file that cannot be read, or whose tensors are missing, surplus or of other sizes than
    the backbone's; OptionError for a method or option that does not go with it;
    DataError for a file of class names that is none. Nothing in the file is run.
    """
    if wrong := loose.keys() - {*LOOSE}:
        raise TypeError(f"import_checkpoint() got an unexpected keyword argument {min(wrong)!r}")
    backbone = with_loose(backbone, loose, "import_checkpoint")
    path = Path(path)
    if out is not None:
        check_place(Path(out), overwrite)
    if method is not None and method not in METHODS:
        raise OptionError(f'checkpoints of method "{method}" cannot be imported: {nearest(method, METHODS)}')
    names = names_of(class_names) if isinstance(class_names, (str, Path)) else tuple(class_names)
    with open_pickled(path) as held:
        stored = {with_prefix(name): value for name, value in tensors_by_name(held.content).items()}
        shapes = {name: value.shape for name, value in stored.items() if is_learned(name)}
        if not shapes:
            raise RunError(f"{path}: no learned prompts in it (expected names such as {LEARNER}ctx)")
        found = method_of(shapes)
        method = method or found
        given = dict(options or {})
        everything = {name: value.shape for name, value in stored.items()}
        sized = sizes(method, everything, path)
        for name in given.keys() & sized.keys():
            if given[name] != sized[name]:
                raise OptionError(
                    f"{name} is {given[name]!r}, but {path.name} was trained with {sized[name]!r}"
                )
        check_classes(stored, shapes, names, path)
        from vlprompt.backbones.loading import opened

        backbone = opened(backbone)
        spec = methods.load(method)
        task = Task(names, (template,), shots)
        learned = spec.build(backbone, task, given | sized).eval()

        def load(name: str) -> Tensor:
            return held.load(stored[name])

        fill(learned, everything, load, path, method, found)
        if method == "lamm" and LEARNER + "ctx" in stored:
            check_frozen_context(learned, load(LEARNER + "ctx"), template, path)
        at_end = given.get("name_position", "end") == "end"
        doubt = doubt_of_words(learned, stored, load) if at_end else []
        content = held.content if isinstance(held.content, Mapping) else {}
        epoch = content.get("epoch")
    digest = sha256(path)
    info = RunInfo(
        method=method,
        title=learned.facts.title,
        paper=learned.facts.paper,
        options={k: v for s in spec.options(given | sized) for k, v in asdict(s).items()},
        shots=shots,
        task_shots=shots,
        class_names=list(names),
        templates=[template],
        zero_shot_templates=list(ZERO_SHOT_TEMPLATES),
        backbone=backbone_info(backbone),
        data=DataInfo(path.name, split="imported"),
        imported=ImportedInfo(path.name, digest, epoch if isinstance(epoch, int) else None),
        notices=[f"imported from {path.name}, a checkpoint of the published code", *doubt],
        parameters=learned.trainable_parameters(),
        versions={"vlprompt": vlprompt.__version__},
        created=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        settings=digest[:16],
    )
    run = Run(learned.eval(), backbone, info)
    if out is not None:
        run.save(out)
    return run


def with_prefix(name: str) -> str:
    """CoOp, CoCoOp and LAMM save the prompt learner alone, so its names come without where it stands."""
    return LEARNER + name if _BARE.match(name) else name


def is_learned(name: str) -> bool:
    """Whether a tensor is one that some method learns; towers and what is made from class names are not."""
    if name.startswith(LEARNER):
        return _BUFFERS.fullmatch(name.removeprefix(LEARNER)) is None
    return name.endswith((".VPT", ".VPT_shallow")) or not name.startswith(_TOWERS)


def method_of(shapes: Shapes) -> str:
    """The method whose tensors these are: the one of which most is found."""
    plain = [name for name in methods.plain_names() if name not in methods.wrapper_names()]
    found = [name for name in plain if marked(list(shapes), methods.known_facts(name).published_marks)]
    base = max(found, key=lambda name: len(methods.known_facts(name).published_marks), default="")
    for wrapper in methods.wrapper_names():
        if marked(list(shapes), methods.known_facts(wrapper).published_marks):
            return f"{base}+{wrapper}" if CONTEXT in shapes else wrapper
    return base or METHODS[0]


def sizes(method: str, shapes: Shapes, path: Path) -> dict[str, Any]:
    """Options of the method that the shapes of the learned tensors tell."""
    spec = methods.load(method)
    held = PublishedShapes(shapes, str(path), method, method_of(shapes))
    found = spec.base.published_options(held, wrapped=spec.wrapper is not None)
    return found if spec.wrapper is None else found | spec.wrapper.published_options(held)


def check_classes(stored: Mapping[str, Stored], shapes: Shapes, names: Sequence[str], path: Path) -> None:
    """RunError when the checkpoint was trained with another number of classes."""
    per_class = [stored.get(LEARNER + n) for n in ("token_suffix", "token_prefix", "token_classes")]
    context = stored.get(LEARNER + "ctx")
    counts = {s.shape[0] for s in per_class if s is not None and len(s.shape) == 3}
    if context is not None and len(context.shape) == 3:
        counts.add(context.shape[0])
    for found in counts - {len(names)}:
        raise RunError(f"{path}: trained with {found} classes, but {len(names)} names are given")


def fill(
    learned: Method, shapes: Shapes, load: Callable[[str], Tensor], path: Path, method: str, found: str
) -> None:
    """Copies every tensor to its place; RunError for missing, surplus and wrongly sized ones."""
    own = dict(learned.named_parameters())
    places = learned.published_names()
    hint = f"; it looks like a checkpoint of {found}" if found != method else ""
    missing = sorted(set(places) - set(shapes))
    unused = learned.facts.published_unused
    there = {name for name in shapes if is_learned(name) and not any(fnmatchcase(name, p) for p in unused)}
    surplus = sorted(there - set(places) - ({LEARNER + "ctx"} if method == "lamm" else set()))
    towers = (learned.backbone.text, learned.backbone.image)
    layers = max(getattr(getattr(tower, "sizes", None), "layers", 0) for tower in towers)
    surplus = [name for name in surplus if not beyond(name, layers)]
    for what, listed in (("missing", missing), ("surplus", surplus)):
        if listed:
            more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
            raise RunError(f"{path}: {what} for {method}: {', '.join(listed[:3])}{more}{hint}")
    with torch.no_grad():
        for theirs, ours in places.items():
            if shapes[theirs] != tuple(own[ours].shape):
                raise RunError(
                    f"{path}: {theirs} has shape {list(shapes[theirs])}, but with this backbone "
                    f"{list(own[ours].shape)} is expected: was it trained on another one?"
                )
            value = load(theirs).float()
            if not torch.isfinite(value).all():
                raise RunError(f"{path}: {theirs} holds values that are not finite")
            own[ours].copy_(value)


def beyond(name: str, layers: int) -> bool:
    """Whether a prompt of MaPLe is for a block that the towers do not have; nothing ever used it."""
    found = re.search(r"\.compound_prompt(?:s_text|_projections)\.(\d+)(?:\.|$)", name)
    return found is not None and int(found[1]) + 1 >= layers


def check_frozen_context(learned: Method, context: Tensor, template: str, path: Path) -> None:
    """LAMM alone keeps its context at the words of the template; a trained one belongs to coop+lamm."""
    (text,) = learned.named_texts()
    assert isinstance(text, TextPrompt)
    words = text.prefix[0, 1:].detach().cpu()
    same = words.shape == context.shape and torch.allclose(words, context.float(), atol=2e-3, rtol=1e-2)
    if not same:
        raise RunError(
            f'{path}: its context is not that of the template "{template}": give the template that it was trained '
            "with, or import it as coop+lamm"
        )


def doubt_of_words(learned: Method, stored: Mapping[str, Stored], load: Callable[[str], Tensor]) -> list[str]:
    """A notice where the words behind the learned context are not those that the file was written with.

    `token_suffix` [C, 76 - n, D] holds their embeddings; other names, another order of the classes or other
    words of the context show in it. Names that stand before or amid the context are not compared.
    """
    name = LEARNER + "token_suffix"
    context = stored.get(LEARNER + "ctx")
    if name not in stored or context is None:
        return []
    with torch.no_grad():
        picture = torch.zeros(1, learned.backbone.embed_dim, device=learned.backbone.device)
        (text,) = learned.named_texts(Seen(picture))
    assert isinstance(text, TextPrompt)
    ours = torch.cat([text.prefix[:1].expand(text.classes, -1, -1), text.suffix], dim=1).float().cpu()
    first, theirs = 1 + context.shape[-2], load(name).float()
    if theirs.dim() != 3 or len(theirs) != len(ours) or theirs.shape[-1] != ours.shape[-1]:
        return []
    wrong = []
    for row, length in enumerate(text.lengths):
        own = ours[row, first : text.prefix.shape[1] + length]
        same = len(own) <= theirs.shape[1] and torch.allclose(
            own, theirs[row, : len(own)], atol=2e-3, rtol=1e-2
        )
        wrong += [] if same else [learned.task.class_names[row]]
    if not wrong:
        return []
    return [
        f"the words that the file was written with read otherwise for {len(wrong)} of {len(ours)} classes "
        f"({', '.join(wrong[:3])}): check the class names, their order, and context_init"
    ]


def names_of(path: str | Path) -> tuple[str, ...]:
    """Class names from a file, in label order; see `naming.read_names`."""
    try:
        data = read_file(Path(path), 64 * MB)
    except OSError as error:
        raise OptionError(
            f"{path}: no class names can be read from it ({error.strerror or error})"
        ) from error
    return read_names(data, str(path))


def sha256(path: Path) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()

"""Checkpoints as the published code writes them, rebuilt from the recorded cases."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

PARITY = Path(__file__).parent / "parity"
sys.path.insert(0, str(PARITY))
sys.path.insert(0, str(Path(__file__).parent))
import second_set  # noqa: E402
from backbone_weights import make_images, normal  # noqa: E402
from run_case import METHOD_NAMES, backbone_of, templates  # noqa: E402

from vlprompt.errors import OptionError, RunError  # noqa: E402
from vlprompt.methods.base import Batch  # noqa: E402
from vlprompt.runs.importing import METHODS, import_checkpoint  # noqa: E402
from vlprompt.runs.run import Run  # noqa: E402


def method_name(case: dict[str, Any]) -> str:
    return METHOD_NAMES.get(case["method"], case["method"])


CASES = sorted(p for p in PARITY.glob("*.json") if '"trainable"' in p.read_text(encoding="utf-8"))
HELD = {p: json.loads(p.read_text(encoding="utf-8")) for p in CASES}
# those of methods whose published checkpoints are read (their facts say what tells them)
CASES = [p for p, case in HELD.items() if case.get("trainable") and method_name(case) in METHODS]
# these save the whole CLIP beside their prompts
WHOLE = ("maple", "ivlp", "vpt", "maple+lamm", "promptsrc", "mmrl", "mmrlpp")


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with np.load(path.with_suffix(".npz")) as held:
        return json.loads(path.read_text(encoding="utf-8")), {key: held[key] for key in held.files}


def state_of(case: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The learned tensors of a case and the buffers that the published code saves beside them."""
    state = {}
    for entry in case["trainable"]:
        value = arrays.get(f"init_param.{entry['name']}")
        if value is None:
            value = normal(case["backbone"]["seed"], f"init:{entry['name']}", entry["shape"], entry["scale"])
        state[entry["name"]] = torch.from_numpy(np.asarray(value)).clone()
    classes, width = len(case["class_names"]), case["backbone"]["text_width"]
    state["prompt_learner.token_prefix"] = torch.zeros(classes, 1, width)
    state["prompt_learner.token_suffix"] = torch.zeros(classes, 70, width)
    if "frozen_context" in arrays:
        state["prompt_learner.ctx"] = torch.from_numpy(arrays["frozen_context"])
    if method_name(case) in WHOLE:
        state["logit_scale"] = torch.tensor(4.6)
        state["image_encoder.conv1.weight"] = torch.zeros(2, 3, 4, 4)
        state["text_encoder.transformer.resblocks.0.ln_1.weight"] = torch.ones(width)
    return state


class Stranger:
    """Something that only the program which pickled it knows, and that must never be called."""

    def __reduce__(self) -> Any:
        return (_explode, ())


def _explode() -> None:
    raise AssertionError("pickled code was run")


def saved(path: Path, state: dict[str, torch.Tensor], **more: Any) -> Path:
    """As the published trainer saves: optimiser and schedule objects beside the tensors."""
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    parameter.grad = torch.ones(3)
    optimizer.step()
    content = {
        "state_dict": state,
        "epoch": 5,
        "optimizer": optimizer.state_dict(),
        "val_result": np.float64(71.5),
        "scheduler": {
            "successor": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5),
            "other": Stranger(),
        },
    }
    torch.save(content | more, path)
    return path


def options(case: dict[str, Any]) -> dict[str, Any]:
    """What no shape tells."""
    given = case["options"]
    found: dict[str, Any] = {}
    if case["method"] in second_set.METHODS:
        said = second_set.method_options(case, templates(case)[0])
        told = ("encoder", "matrices", "blocks") if case["method"] == "clip_lora" else ()
        ivlp = case["method"] == "promptsrc"
        return {k: v for k, v in said.items() if k not in told and (k != "context_init" or ivlp)}
    if given.get("class_token_position", "end") != "end":
        found["name_position"] = given["class_token_position"]
    if method_name(case).partition("+")[0] in ("ivlp", "maple") and given.get("ctx_init"):
        found["context_init"] = given["ctx_init"].replace("_", " ")
    return found


def imported(path: Path, case: dict[str, Any], **more: Any) -> Run:
    backbone = backbone_of(json.dumps(case["backbone"]))
    words = "a photo of a {}."
    if case["method"] in ("vpt", "lamm", "mmrl", "mmrlpp", "clip_lora"):
        words = templates(case)[0]
    elif "teacher_prompts" in case:
        words = templates(case, "teacher_prompts")[0]
    return import_checkpoint(
        path, method_name(case), case["class_names"], backbone, template=words, options=options(case), **more
    )


def logits(run: Run, case: dict[str, Any]) -> np.ndarray:
    pixels = torch.from_numpy(make_images(case["images"]["seed"], case["images"]["shape"]))
    with torch.no_grad():
        return run.method.eval()(Batch(pixels=pixels)).logits.numpy()


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_logits_are_those_of_the_case(path: Path, tmp_path: Path) -> None:
    case, arrays = read(path)
    file = saved(tmp_path / "model.pth.tar-5", state_of(case, arrays))
    run = imported(file, case, out=tmp_path / "run")
    key = {"mmrl": "out.logits_fusion", "mmrlpp": "out.logits_fusion", "gallop": "out.probabilities"}
    answers = key.get(case["method"], "out.logits")
    found = logits(run, case)
    if case["method"] == "gallop":
        found = torch.from_numpy(found).softmax(dim=-1).numpy()
    assert np.abs(found - arrays[answers]).max() <= case["tolerances"][answers]
    assert run.info.imported.epoch == 5
    again = Run.load(tmp_path / "run", run.backbone)
    assert torch.equal(torch.from_numpy(logits(again, case)), torch.from_numpy(logits(run, case)))


def case(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return read(PARITY / f"{name}.json")


@pytest.mark.parametrize("name", ["coop_end_n4", "cocoop_n4", "ivlp_t3_v2", "coop_lamm_csc"])
def test_half_precision_and_the_prompt_learner_alone(name: str, tmp_path: Path) -> None:
    about, arrays = case(name)
    state = {k: v.half() for k, v in state_of(about, arrays).items()}
    bare = {f"module.{k.removeprefix('prompt_learner.')}": v for k, v in state.items()}
    file = tmp_path / "model.pth.tar-50"
    torch.save({"state_dict": bare}, file)
    run = imported(file, about)
    own = run.learned.state_dict()
    for theirs, ours in run.learned.published_names().items():
        assert own[ours].dtype == torch.float32 and torch.equal(own[ours], state[theirs].float())
    found = import_checkpoint(file, None, about["class_names"], run.backbone)  # told by the names
    assert found.info.method == method_name(about)


@pytest.mark.parametrize("name", ["coop_end_n4", "cocoop_n4", "maple_d3_n3"])
@pytest.mark.parametrize("places", [(0, 0), (1,), (0, 1, 1), (2,)])
def test_wrappers_of_data_parallel_are_left_out(name: str, places: tuple[int, ...], tmp_path: Path) -> None:
    """module.module.prompt_learner.ctx, prompt_learner.module.ctx, ..."""
    about, arrays = case(name)
    wrapped = {}
    for key, value in state_of(about, arrays).items():
        parts = key.split(".")
        for place in places:
            parts.insert(min(place, len(parts) - 1), "module")
        wrapped[".".join(parts)] = value
    run = imported(saved_as(tmp_path / "model.pth.tar-50", wrapped), about)
    assert np.abs(logits(run, about) - arrays["out.logits"]).max() <= about["tolerances"]["out.logits"]


@pytest.mark.parametrize("name", ["coop_csc_n3", "cocoop_ctxinit", "maple_d1_n2", "coop_lamm_ctxinit"])
def test_other_words_than_the_file_was_written_with_are_noticed(name: str, tmp_path: Path) -> None:
    about, arrays = case(name)
    backbone = backbone_of(json.dumps(about["backbone"]))
    state = state_of(about, arrays)
    ids = torch.zeros(len(about["prompts"]), 77, dtype=torch.long)
    for row, prompt in zip(ids, about["prompts"], strict=True):
        row[: len(prompt["ids"])] = torch.tensor(prompt["ids"])
    after = 1 + state["prompt_learner.ctx"].shape[-2]
    state["prompt_learner.token_suffix"] = backbone.text.embed(ids)[:, after:].half()
    file = saved_as(tmp_path / "model.pth.tar-5", state)
    assert len(imported(file, about).info.notices) == 1
    turned = about | {"class_names": [*about["class_names"][1:], about["class_names"][0]]}
    assert "check the class names" in imported(file, turned).info.notices[1]


def test_nothing_is_overwritten_unasked_and_nothing_stays_of_a_former_run(tmp_path: Path) -> None:
    about, arrays = case("coop_end_n4")
    file, out = saved_as(tmp_path / "model.pth.tar-50", state_of(about, arrays)), tmp_path / "run"
    imported(file, about, out=out)
    with pytest.raises(RunError, match="run: holds a finished run: choose another folder or overwrite it"):
        imported(file, about, out=out)
    (out / "log.jsonl").write_text('{"event": "message", "text": "of the former run"}\n', encoding="utf-8")
    for name in ("predictions.csv", "checkpoint.safetensors", "report.html", "notes.txt"):
        (out / name).write_text("of the former run", encoding="utf-8")
    (out / "report-figures").mkdir()
    (out / "report-figures" / "classes.png").write_bytes(b"of the former run")
    imported(file, about, out=out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "log.jsonl",
        "notes.txt",
        "prompts.safetensors",
        "run.json",
    ]
    assert (out / "log.jsonl").read_bytes() == b""
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="other: exists already and is not empty"):
        imported(file, about, out=other)
    with pytest.raises(RunError, match="is a file, not a folder"):
        imported(file, about, out=file)


def test_class_names_from_a_file(tmp_path: Path) -> None:
    about, arrays = case("coop_end_n4")
    file = tmp_path / "model.pth.tar-50"
    torch.save(state_of(about, arrays), file)  # a bare state dict
    names = tmp_path / "classes.txt"
    names.write_text("\n".join(about["class_names"]) + "\n", encoding="utf-8")
    run = import_checkpoint(file, "coop", names, backbone_of(json.dumps(about["backbone"])))
    assert list(run.class_names) == about["class_names"]
    keyed = "".join(f"{i}\t{name}\n" for i, name in reversed(list(enumerate(about["class_names"]))))
    names.write_text(keyed, encoding="utf-8")
    assert list(import_checkpoint(file, "coop", names, run.backbone).class_names) == about["class_names"]
    names.write_text(keyed, encoding="utf-16")
    assert list(import_checkpoint(file, "coop", names, run.backbone).class_names) == about["class_names"]
    with pytest.raises(OptionError, match="no class names"):
        import_checkpoint(file, "coop", tmp_path / "none.txt", run.backbone)


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    about, arrays = case("ivlp_t3_v2")
    backbone = backbone_of(json.dumps(about["backbone"]))
    state, names = state_of(about, arrays), about["class_names"]
    file = tmp_path / "model.pth.tar-5"

    def attempt(change: dict[str, torch.Tensor | None], method: str = "ivlp", classes: Any = names) -> None:
        kept = {k: v for k, v in (state | change).items() if v is not None}
        torch.save({"state_dict": kept}, file)
        import_checkpoint(file, method, classes, backbone)

    attempt({})
    with pytest.raises(RunError, match="no tensor prompt_learner.ctx.*looks like vpt"):
        attempt({"prompt_learner.ctx": None, "text_encoder.transformer.resblocks.1.VPT_shallow": None})
    with pytest.raises(RunError, match="surplus for ivlp: text_encoder.transformer.resblocks.2.VPT_shallow"):
        attempt({"text_encoder.transformer.resblocks.1.VPT_shallow": None})
    with pytest.raises(RunError, match="surplus for ivlp: prompt_learner.odd"):
        attempt({"prompt_learner.odd": torch.zeros(2)})
    with pytest.raises(RunError, match="looks like a checkpoint of ivlp"):
        attempt({}, "coop")
    with pytest.raises(RunError, match="was it trained on another one"):
        attempt({"image_encoder.VPT": torch.zeros(2, 7)})
    with pytest.raises(RunError, match="not finite"):
        attempt({"image_encoder.VPT": state["image_encoder.VPT"] * float("nan")})
    with pytest.raises(RunError, match=f"trained with {len(names)} classes, but 2 names"):
        attempt({}, classes=names[:2])
    with pytest.raises(OptionError, match="cannot be imported"):
        attempt({}, "prograd")
    with pytest.raises(OptionError, match="was trained with 2"):
        import_checkpoint(saved_as(file, state), "ivlp", names, backbone, options={"context_tokens": 4})


def saved_as(file: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save(state, file)
    return file


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    about, arrays = case("maple_d3_n3")
    state = state_of(about, arrays)
    del state["prompt_learner.compound_prompt_projections.1.bias"]
    file = saved_as(tmp_path / "model.pth.tar-2", state)
    with pytest.raises(
        RunError, match="missing for maple: prompt_learner.compound_prompt_projections.1.bias"
    ):
        imported(file, about)


def test_prompts_beyond_the_last_block_are_left_out(tmp_path: Path) -> None:
    about, arrays = case("maple_d3_n3")
    state = state_of(about, arrays)
    layers = max(about["backbone"]["text_layers"], about["backbone"]["vision_layers"])
    for i in range(2, layers + 1):
        for part in (
            "compound_prompts_text.{}",
            "compound_prompt_projections.{}.weight",
            "compound_prompt_projections.{}.bias",
        ):
            state[f"prompt_learner.{part.format(i)}"] = state[f"prompt_learner.{part.format(1)}"].clone()
    run = imported(saved_as(tmp_path / "model.pth.tar-2", state), about)
    assert run.info.options["depth"] == layers + 2
    assert len(run.learned.words.deep) == layers - 1


def test_a_trained_context_is_not_that_of_lamm_alone(tmp_path: Path) -> None:
    about, arrays = case("lamm_min1")
    state = state_of(about, arrays)
    state["prompt_learner.ctx"] = state["prompt_learner.ctx"] + 0.1
    with pytest.raises(RunError, match="coop\\+lamm"):
        imported(saved_as(tmp_path / "model.pth.tar-50", state), about)


def test_files_that_are_none(tmp_path: Path) -> None:
    about, arrays = case("coop_end_n4")
    backbone = backbone_of(json.dumps(about["backbone"]))
    file = saved_as(tmp_path / "model.pth.tar-50", state_of(about, arrays))
    whole = file.read_bytes()
    for content, words in (
        (b"", "zip format"),
        (b"PK\x03\x04" + bytes(50), "zip format"),
        (whole[: len(whole) // 2], "zip format"),
        (pickle.dumps({"ctx": Stranger()}), "zip format.*somebody you trust"),
    ):
        file.write_bytes(content)
        with pytest.raises(RunError, match=words):
            import_checkpoint(file, "coop", about["class_names"], backbone)
    with pytest.raises(RunError, match="no such file"):
        import_checkpoint(tmp_path / "none", "coop", about["class_names"], backbone)
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, file)
    with pytest.raises(RunError, match="surplus|no tensor"):
        import_checkpoint(file, "coop", about["class_names"], backbone)
    damaged = bytearray(whole)
    at = whole.index(b"data.pkl") + 200
    damaged[at : at + 40] = bytes(40)
    file.write_bytes(damaged)
    with pytest.raises(RunError, match="damaged"):
        import_checkpoint(file, "coop", about["class_names"], backbone)
    torch.save([1, 2], file)
    with pytest.raises(RunError, match="no learned prompts"):
        import_checkpoint(file, "coop", about["class_names"], backbone)


VARIED = {  # sizes and settings that no recorded case has
    "coop": {"context_tokens": 7},
    "coop csc": {"context_tokens": 2, "class_specific": True, "name_position": "front"},
    "cocoop": {"context_tokens": 3, "context_init": ""},
    "vpt": {"image_tokens": 5, "image_depth": 2},
    "ivlp": {"context_tokens": 3, "text_depth": 2, "image_tokens": 4, "image_depth": 3},
    "ivlp text": {"context_tokens": 6, "context_init": "", "text_depth": 3, "image_depth": 0},
    "maple": {"context_tokens": 4, "depth": 3},
    "lamm": {},
    "coop+lamm": {"context_tokens": 5, "label_tokens": 1},
    "maple+lamm": {"context_tokens": 3, "depth": 2, "init_always": True},
}


@pytest.mark.parametrize("title", VARIED)
def test_unseen_settings_come_back_as_they_were(title: str, tmp_path: Path) -> None:
    """Our own tensors under the published names, in an order of their own, as half numbers, among further buffers."""
    from support import tiny_backbone

    from vlprompt import methods
    from vlprompt.data.task import Task

    name, backbone, names = title.split(" ")[0], tiny_backbone(), ("golden retriever", "cat", "sea otter")
    given = VARIED[title] | ({"reference": "published_code"} if "lamm" in name else {})
    made = methods.load(name).build(backbone, Task(names), given, torch.Generator().manual_seed(3))
    own = dict(made.named_parameters())
    with torch.no_grad():
        for ours in made.published_names().values():
            own[ours].add_(
                0.1 * torch.randn(own[ours].shape, generator=torch.Generator().manual_seed(5))
            ).copy_(own[ours].half().float())
    state = {theirs: own[ours].detach().half() for theirs, ours in made.published_names().items()}
    length = 77 - 1 - given.get("context_tokens", 4)
    state |= {
        f"prompt_learner.token_{part}": torch.randn(len(names), n, 64).half()
        for part, n in (("prefix", 1), ("suffix", length), ("suffix_2", length), ("prefix_test", 1))
    }
    state = {key: state[key] for key in sorted(state, key=lambda key: key[::-1])}
    told = {k: v for k, v in given.items() if k in ("name_position",) or (k == "context_init" and v)}
    file = saved_as(tmp_path / "model.pth.tar-9", {"state_dict": state, "epoch": 9})  # type: ignore[dict-item]
    run = import_checkpoint(file, None, names, backbone, options=told)
    assert run.info.method == name
    pixels = torch.from_numpy(make_images(4, [2, 3, 32, 32]))
    with torch.no_grad():
        expected, found = (m.eval()(Batch(pixels=pixels)).logits for m in (made, run.method))
    assert torch.equal(expected, found)
    with pytest.raises(RunError, match="trained with 3 classes, but 4 names") as caught:
        import_checkpoint(file, name, (*names, "dog"), backbone, options=told)
    assert "\n" not in str(caught.value)


UNUSED = {
    "kgcoop_pets_w8": {
        "prompt_learner.bias_vectors": (1, 512),
        "prompt_learner.meta_net.linear1.weight": (512, 512),
        "prompt_learner.meta_net.linear1.bias": (512,),
    },
    "promptsrc_t1_v1": {"prompt_learner.ZS_image_encoder.conv1.weight": (2, 3, 4, 4)},
    "mmrl_l3_n3_adamw": {},
    "mmrlpp_l23_n2": {},
    "clip_lora_qkv_both": {},
    "gallop_4_4": {},
}


@pytest.mark.parametrize("name", UNUSED)
def test_files_say_whose_they_are_and_what_nothing_uses_is_left_out(name: str, tmp_path: Path) -> None:
    about, arrays = case(name)
    state = state_of(about, arrays) | {key: torch.zeros(shape) for key, shape in UNUSED[name].items()}
    file = saved_as(tmp_path / "model.pth.tar-5", state)
    run = import_checkpoint(
        file, None, about["class_names"], backbone_of(json.dumps(about["backbone"])), options=options(about)
    )
    assert run.info.method == about["method"]
    assert run.method.trainable_parameters() == sum(
        int(np.prod(entry["shape"])) for entry in about["trainable"]
    )


def test_every_method_that_says_how_its_checkpoints_are_told_has_cases() -> None:
    assert {method_name(HELD[p]) for p in CASES} == set(METHODS) and len(CASES) >= 40

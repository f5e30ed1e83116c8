"""One optimisation step of each method: ours against the published way of doing it.

    python benchmarks/step.py                       table of all rows
    python benchmarks/step.py --json --methods lamm --classes 100

Plain: what the published code does, step by step: 77 tokens for every class, nothing shared,
pictures through the image tower in every step, the reference of LAMM recomputed in every step (frozen texts of
methods whose code reads them once are known), in
CoCoOp one picture after another, in CTP + TFT (which has no published code) a prompt of 77 tokens for every
pair of picture and class. Fast: the library's normal path. Both run the same method on the
same random ViT-B/16-sized weights, each in a process of its own, step by step in turn; times are
medians, memory is the peak of the process (device memory on a GPU). `--clock processor` counts the
processor's seconds, where other programs take the machine; with `--threads 1` these are a step's time.
`fast_gflop` counts the matrix products of a fast step; `share_of_gemm` is their rate over that of a
square float32 product measured beside.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reporting import processor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))


@dataclass(frozen=True)
class Row:
    """teacher_once: the published code, too, reads the texts that do not learn once, and not in every step."""

    batch: int
    options: dict[str, Any] = field(default_factory=dict)
    teacher_once: bool = False


ROWS = {
    "lamm": Row(32, {"reference": "published_code"}),
    "coop": Row(32, {"context_tokens": 16}),
    "coop+lamm": Row(32, {"context_tokens": 16, "reference": "published_code"}),
    "cocoop": Row(1),
    "maple": Row(4),
    "maple+lamm": Row(4, {"reference": "published_code"}),
    "ivlp": Row(4),
    "vpt": Row(4),
    "ctp+tft": Row(4, {"placement": "context"}),
    "tft": Row(4),
    "proda": Row(16),
    "kgcoop": Row(128, {"reference": "published_code"}, teacher_once=True),
    "tcp": Row(32, {"reference": "published_code"}, teacher_once=True),
    "promptsrc": Row(4, {"reference": "published_code"}, teacher_once=True),
    "mmrl": Row(4, {"blocks": "6-12"}, teacher_once=True),
    "mmrlpp": Row(4, {"blocks": "6-12"}, teacher_once=True),
    "clip_lora": Row(32),
    "gallop": Row(32, {"reference": "published_code"}),
}
DEFAULT = ("lamm", "coop", "cocoop", "maple")
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
SYLLABLES = "red fox wolf bear bird fish tree lake hill road moon star rain snow wind fire".split()


def name_of(i: int) -> str:
    """A different name for every i < 16 ** 3, with 1 to 6 words of one token each."""
    digits = [SYLLABLES[(i // 16**k) % 16] for k in range(6)]
    length = 1 + i % 6
    needed = 1 if i < 16 else 2 if i < 256 else 3
    return " ".join(digits[: max(length, needed)])


def backbone(device: str, dtype: Any) -> Any:
    """Random weights of the size of ViT-B/16; what they are does not change what is computed."""
    import torch

    from vlprompt.backbones.backbone import Backbone
    from vlprompt.backbones.preprocessing import Preprocessing
    from vlprompt.backbones.tokenizing import clip_tokenizer
    from vlprompt.backbones.towers import ImageSizes, ImageTower, TextSizes, TextTower

    torch.manual_seed(0)
    text = TextTower(TextSizes(512, 12, 8, 2048, 77, 49408), 512, "quick_gelu")
    image = ImageTower(ImageSizes(768, 12, 12, 3072, 224, 16), 512, "quick_gelu")
    for tower in (text, image):
        for name, p in tower.named_parameters():
            if "ln_" not in name:
                torch.nn.init.normal_(p.data, std=0.02 if p.dim() > 1 else 0.01)
    held = Backbone("random ViT-B/16", text, image, 50.0, clip_tokenizer(), Preprocessing(224), "random")
    return held.to(device, dtype)


class Side:
    """One side of a row in its own process: builds, then does a step whenever a line arrives."""

    def __init__(
        self, side: str, method: str, classes: int, precision: str, device: str, clock: str = "wall"
    ) -> None:
        import torch

        from vlprompt import methods
        from vlprompt.data.task import Task
        from vlprompt.methods.base import Batch, Method
        from vlprompt.prompts.interpreters.plain import Plain
        from vlprompt.training.optimizers import make_optimizer

        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        self.torch, self.device = torch, device
        self.seconds = CLOCKS[clock]
        held = backbone(device, dtype)
        row = ROWS[method]
        self.method = methods.load(method).build(
            held, Task(tuple(name_of(i) for i in range(classes))), row.options
        )
        if side == "plain":
            for part in self.method.modules():
                if isinstance(part, Method):
                    part.interpreter = Plain(held)  # type: ignore[assignment]
                    part.interpreter.kept_as = "plain" if row.teacher_once else None
        needs = self.method.facts.needs
        pixels = torch.randn(row.batch, 3, 224, 224, generator=torch.Generator().manual_seed(1)).to(device)
        if side == "plain":
            self.batch = Batch(pixels=pixels)
        else:  # what the cache gives; which numbers it is does not change what is computed

            def known(*shape: int) -> torch.Tensor:
                return torch.nn.functional.normalize(torch.randn(row.batch, *shape), dim=-1).to(device)

            self.batch = Batch(
                features=known(held.embed_dim) if "features" in needs else None,
                patches=known(held.patches, held.embed_dim) if "patches" in needs else None,
                pixels=pixels if "pixels" in needs else None,
                patch_states=known(held.patches, held.image_width) if "patch_states" in needs else None,
            )
        self.peak = 0.0
        self.labels = (torch.arange(row.batch) % classes).to(device)
        self.optimizer = make_optimizer("sgd", self.method.parameters(), lr=0.002)
        self.method.train()

    def step(self) -> float:
        """Seconds of one optimisation step; its peak memory is kept."""
        self.sync()
        reset_peak()
        began = self.seconds()
        total = self.method.total_loss(self.method.loss(self.method(self.batch), self.labels))
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        self.sync()
        seconds = self.seconds() - began
        self.peak = max(self.peak, process_peak_mb())
        return seconds

    def sync(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def gflop(self) -> float:
        """Matrix products of one step, in 10^9 operations."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self.step()
        return counter.get_total_flops() / 1e9

    def peak_mb(self) -> float:
        if self.device == "cuda":
            return self.torch.cuda.max_memory_allocated() / 2**20
        return self.peak


class Product:
    """What `share_of_gemm` compares with, in a process of its own: large tensors change how much memory others take."""

    def __init__(self, device: str, clock: str) -> None:
        import torch

        self.torch, self.device = torch, device
        self.seconds = CLOCKS[clock]

    def sync(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def gemm(self) -> float:
        """10^9 operations per second of a square float32 matrix product."""
        n = 2048 if self.device == "cpu" else 8192
        a, b = (self.torch.randn(n, n, device=self.device) for _ in range(2))
        out = self.torch.empty(n, n, device=self.device)
        self.torch.mm(a, b, out=out)
        self.sync()
        began = self.seconds()
        self.torch.mm(a, b, out=out)
        self.sync()
        return 2 * n**3 / 1e9 / (self.seconds() - began)


def reset_peak() -> None:
    """Forget the process's peak memory so far (Linux), so that it is a step's and not the set-up's."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def process_peak_mb() -> float:
    """Peak resident memory of the process: weights, libraries and activations."""
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def serve(args: argparse.Namespace) -> None:
    """The worker: answers each line on stdin ("step", "gflop", "peak_mb"; "gemm") with a number."""
    side = (
        Product(args.device, args.clock)
        if args.side == "product"
        else Side(args.side, args.methods[0], args.classes[0], args.precision[0], args.device, args.clock)
    )
    print("ready", flush=True)
    for line in sys.stdin:
        print(getattr(side, line.strip())(), flush=True)


class Process:
    """A process of `serve`: built, then asked line by line."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment
        )

    def read(self, what: str) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            killed = ", as when memory runs out: fewer --classes, or --no-plain" if code < 0 else ""
            raise RuntimeError(f"a process ended during {what} (exit code {code}{killed})")
        return line

    def ask(self, what: str) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self.read(what))

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class Worker(Process):
    def __init__(
        self, side: str, method: str, classes: int, precision: str, args: argparse.Namespace
    ) -> None:
        command = [
            sys.executable,
            __file__,
            "--side",
            side,
            "--methods",
            method,
            "--classes",
            str(classes),
            "--precision",
            precision,
            "--device",
            args.device,
            "--clock",
            args.clock,
        ]
        super().__init__(command, {"OMP_NUM_THREADS": str(args.threads)})


def measure(
    method: str, classes: int, precision: str, args: argparse.Namespace, cleaner: contextlib.ExitStack
) -> dict[str, Any]:
    """One row; the two sides take turns until the repeats are done or the time is used. cleaner: ends the processes."""
    fast = Worker("fast", method, classes, precision, args)
    plain = (
        None if args.no_plain else Worker("plain", method, classes, args.plain_precision or precision, args)
    )
    product = Worker("product", method, classes, precision, args)
    sides = [w for w in (fast, plain, product) if w is not None]
    for worker in sides:
        cleaner.callback(worker.close)
    for worker in sides:  # both build at the same time
        worker.read("its start")
    fast.ask("step")  # warm-up: memory, caches, what is computed once per run
    if plain is not None and ROWS[method].teacher_once:
        plain.ask("step")  # what the published code computes once is no part of its step either
    fast_s: list[float] = []
    plain_s: list[float] = []
    rates: list[float] = []
    began = time.perf_counter()
    while len(fast_s) < args.repeats and (not fast_s or time.perf_counter() - began < args.seconds):
        rates.append(product.ask("gemm"))
        fast_s += sorted(fast.ask("step") for _ in range(3))[1:2]
        if plain is not None:
            plain_s.append(plain.ask("step"))
    row: dict[str, Any] = {
        "method": method,
        "classes": classes,
        "precision": precision,
        "batch": ROWS[method].batch,
    }
    middle = statistics.median(fast_s)
    peaks = [worker.ask("peak_mb") if worker else None for worker in (plain, fast)]
    gflop = fast.ask("gflop")  # after the peaks: counting imports a hundred megabytes
    row |= {
        "plain_s": statistics.median(plain_s) if plain_s else None,
        "fast_s": middle,
        "speedup": statistics.median(plain_s) / middle if plain_s else None,
        "plain_peak_mb": peaks[0],
        "fast_peak_mb": peaks[1],
        "fast_gflop": gflop,
        "share_of_gemm": gflop / middle / statistics.median(rates),
        "gemm_gflops": statistics.median(rates),
        "repeats": len(fast_s),
        "threads": args.threads,
        "device": args.device,
        "clock": args.clock,
        "machine": machine(args.device),
    }
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}


def machine(device: str) -> str:
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    return processor()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per row")
    parser.add_argument(
        "--methods", type=lambda s: s.split(","), default=list(DEFAULT), help=f"of {', '.join(ROWS)}"
    )
    parser.add_argument("--classes", type=lambda s: [int(n) for n in s.split(",")], default=[100])
    parser.add_argument(
        "--precision",
        type=lambda s: s.split(","),
        default=["float32"],
        help="float32, bf16 (tf32, fp16 on cuda)",
    )
    parser.add_argument("--plain-precision", help="precision of the plain side, if not the same")
    parser.add_argument("--no-plain", action="store_true", help="measure the fast side alone")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=24.0, help="start no repeat after this")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--side", choices=("plain", "fast", "product"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    args = arguments()
    if args.side:
        serve(args)
        return 0
    for name in args.methods:
        if name not in ROWS:
            print(f'no row "{name}": known: {", ".join(ROWS)}', file=sys.stderr)
            return 2
    columns = "method classes precision plain_s fast_s speedup plain_peak_mb fast_peak_mb fast_gflop share_of_gemm".split()
    code = 0  # 1: a row could not be measured; the others are
    if not args.json:
        print("  ".join(f"{c:>13}" for c in columns))
    for precision in args.precision:
        for classes in args.classes:
            for method in args.methods:
                try:
                    with contextlib.ExitStack() as cleaner:
                        row = measure(method, classes, precision, args, cleaner)
                except RuntimeError as error:
                    print(f"{method}, {classes} classes, {precision}: {error}", file=sys.stderr, flush=True)
                    code = 1
                    continue
                line = json.dumps(row) if args.json else "  ".join(f"{row[c]!s:>13}" for c in columns)
                print(line, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())

"""Muon for the matrices inside the blocks, AdamW for everything else; schedule and average."""

import copy

import torch
import workers
from torch import Tensor, nn


class Optimiser:
    """Muon (Jordan et al., 2024) needs far fewer steps than AdamW on matrices of hidden layers.

    Its updates are scaled to AdamW's size; it bears twice the learning rate.
    """

    def __init__(self, module: nn.Module, lr: float, weight_decay: float = 0.05) -> None:
        self.lr, self.parameters, named = lr, list(module.parameters()), list(module.named_parameters())
        hidden = [p for n, p in named if "layers." in n and p.ndim == 2]
        matrices = [p for n, p in named if "layers." not in n and p.ndim == 2]
        vectors = [p for n, p in named if p.ndim < 2]
        self.muon = torch.optim.Muon(
            hidden, lr=lr, weight_decay=weight_decay, ns_steps=4, adjust_lr_fn="match_rms_adamw"
        )
        groups = [
            {"params": matrices, "weight_decay": weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)

    def step(self, loss: Tensor, factor: float) -> float:
        """One step at `factor` times the learning rate; returns the gradient's norm."""
        if not torch.isfinite(loss):
            raise FloatingPointError("the loss is not finite")
        loss.backward()
        workers.average([p.grad for p in self.parameters if p.grad is not None])
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimiser, share in ((self.muon, 2.0), (self.adam, 1.0)):
            for group in optimiser.param_groups:
                group["lr"] = share * self.lr * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return float(norm)

    def state_dict(self) -> dict:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def rate(progress: float, step: int, decay: float = 0.3, warmup: int = 50) -> float:
    """Learning-rate factor: warm-up over steps, constant, then linear to 0 in the last `decay` of the run.

    Up to the decay nothing depends on the run's length, so a run can be prolonged from there.
    """
    return min(1.0, (step + 1) / warmup) * min(1.0, max(0.0, (1 - progress) / decay) + 0.005)


class Average:
    """Exponential moving average of a module's parameters, slower as the run goes on."""

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, module: nn.Module, step: int, longest: float = 0.998) -> None:
        keep = min(longest, (step + 1) / (step + 10))
        averaged, current = list(self.module.parameters()), list(module.parameters())
        torch._foreach_lerp_(averaged, current, 1 - keep)

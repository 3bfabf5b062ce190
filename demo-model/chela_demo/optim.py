"""Muon for the matrices (Keller Jordan et al., 2024), Adam for the rest."""

from __future__ import annotations

import torch
from torch import Tensor


def orthogonal(g: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz: nearly the orthogonal factor of each matrix of `[n, rows, columns]`, in the precision of `g`."""
    a, b, c = 3.4445, -4.7750, 2.0315
    turned = g.shape[1] > g.shape[2]
    x = g.transpose(1, 2) if turned else g
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(steps):
        s = x @ x.transpose(1, 2)
        x = a * x + (b * s + c * s @ s) @ x
    return x.transpose(1, 2) if turned else x


class Muon:
    """State by name, so that a checkpoint can be read by a person."""

    def __init__(self, named: dict[str, Tensor], lr: float, adam_lr: float, decay: float = 0.01, precision: torch.dtype = torch.float32):
        """`precision`: that of the matrix products; the weights and their momentum keep their own."""
        self.lr, self.adam_lr, self.decay, self.precision = lr, adam_lr, decay, precision
        self.matrices = {name: p for name, p in named.items() if p.dim() == 2 and "embed" not in name}
        self.others = {name: p for name, p in named.items() if name not in self.matrices}
        self.momentum = {name: torch.zeros_like(p) for name, p in self.matrices.items()}
        self.first = {name: torch.zeros_like(p) for name, p in self.others.items()}
        self.second = {name: torch.zeros_like(p) for name, p in self.others.items()}
        self.count = 0

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One step at `scale` times the learning rates; takes the gradients away."""
        self.count += 1
        alike: dict[torch.Size, list[str]] = {}
        for name, p in self.matrices.items():
            m = self.momentum[name]
            m.lerp_(p.grad, 0.05)
            p.grad.lerp_(m, 0.95)
            alike.setdefault(p.shape, []).append(name)
        for shape, names in alike.items():
            updates = orthogonal(torch.stack([self.matrices[name].grad for name in names]).to(self.precision))
            size = max(1.0, shape[0] / shape[1]) ** 0.5
            for name, update in zip(names, updates):
                p = self.matrices[name]
                p.mul_(1 - self.lr * scale * self.decay).add_(update.to(p.dtype), alpha=-self.lr * scale * size)
                p.grad = None
        for name, p in self.others.items():
            first, second = self.first[name], self.second[name]
            first.lerp_(p.grad, 0.1)
            second.lerp_(p.grad.square(), 0.02)
            corrected = (second / (1 - 0.98**self.count)).sqrt_().add_(1e-8)
            p.addcdiv_(first, corrected, value=-self.adam_lr * scale / (1 - 0.9**self.count))
            p.grad = None

    def state(self) -> dict:
        return {"momentum": self.momentum, "first": self.first, "second": self.second, "count": self.count}

    @torch.no_grad()
    def load(self, state: dict) -> None:
        self.count = state["count"]
        for mine, theirs in ((self.momentum, state["momentum"]), (self.first, state["first"]), (self.second, state["second"])):
            for name, tensor in mine.items():
                tensor.copy_(theirs[name])

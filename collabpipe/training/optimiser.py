"""Stochastic gradient descent with momentum, as torch.optim.SGD computes it.

torch's own imports its compiler at the first step, seconds that a packed job on a laptop pays again and again; a test
holds this one to torch's weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from collabpipe.settings.training import TrainingSettings


class Sgd:
    """SGD with (Nesterov) momentum and weight decay on all parameters."""

    def __init__(self, parameters: Iterable[Tensor], settings: TrainingSettings):
        self.parameters = [p for p in parameters if p.requires_grad]
        self.momentum = [torch.zeros_like(p) for p in self.parameters]
        self.settings = settings

    @torch.no_grad()
    def step(self, learning_rate: float | Tensor) -> None:
        """One update from the gradients, which are then dropped; a parameter without one stays.

        Args:
            learning_rate: a number, or on a GPU a tensor () there, which a captured step reads anew at every replay.
        """
        active = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        weights = [self.parameters[i] for i in active]
        gradients = [p.grad for p in weights if p.grad is not None]
        momentum = [self.momentum[i] for i in active]
        update = self._on_cpu if weights and weights[0].device.type == "cpu" else self._fused
        update(weights, gradients, momentum, learning_rate)  # type: ignore[arg-type]
        for parameter in self.parameters:
            parameter.grad = None

    def _on_cpu(
        self, weights: list[Tensor], gradients: list[Tensor], momentum: list[Tensor], learning_rate: float
    ) -> None:
        """Tensor by tensor: on a CPU torch's fused kernel takes half as long again."""
        torch._foreach_add_(gradients, weights, alpha=self.settings.weight_decay)
        torch._foreach_mul_(momentum, self.settings.momentum)
        torch._foreach_add_(momentum, gradients)
        if self.settings.nesterov:
            torch._foreach_add_(gradients, momentum, alpha=self.settings.momentum)
        else:
            gradients = momentum
        torch._foreach_add_(weights, gradients, alpha=-learning_rate)

    def _fused(
        self, weights: list[Tensor], gradients: list[Tensor], momentum: list[Tensor], learning_rate: float | Tensor
    ) -> None:
        """All tensors in one kernel, which reads and writes each number once."""
        if weights:
            torch._fused_sgd_(
                weights,
                gradients,
                momentum if self.settings.momentum else [],
                weight_decay=self.settings.weight_decay,
                momentum=self.settings.momentum,
                lr=learning_rate,
                dampening=0.0,
                nesterov=self.settings.nesterov and self.settings.momentum > 0.0,
                maximize=False,
                is_first_step=False,
            )


def learning_rate(settings: TrainingSettings, epoch: int) -> float:
    """The rate of an epoch, counted from 0: half a cosine, or divided by 5 at each milestone."""
    share = epoch / settings.epochs
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))
    return settings.learning_rate * 0.2 ** sum(share >= m for m in settings.milestones)

"""One training: the loop, its measurements, and a state that can be taken and put back between any two steps."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from collabpipe.data.labels import LabelFile
from collabpipe.data.prepared import Images
from collabpipe.model.method import Generators, build_method
from collabpipe.model.networks import StagedNetwork, drawing_from, initialise
from collabpipe.plan.recipes import TrainRecipe
from collabpipe.training.batches import Augmentation, Cut, Pixels
from collabpipe.training.graphs import Graphs, on_stream, scalar
from collabpipe.training.measure import Measured, Probe
from collabpipe.training.optimiser import Sgd, learning_rate

Weights = dict[str, Tensor]
UNMEASURED = Measured(*(math.nan for _ in fields(Measured)))


def compile_stages(network: StagedNetwork) -> None:
    """Have torch.compile fuse each stage's operations, in place; names of weights stay as they are."""
    for part in (network.stem, *network.stages.values()):
        part.compile(dynamic=False)


def allow_versions() -> None:
    """Let torch.compile hold as many versions of a layer as there are; for this thread alone, as torch has it.

    Blocks of one class share code, and every shape of one, in training and in evaluation, is a version of it. Past its
    limit torch would go on uncompiled and tell a log alone: to other weights.
    """
    torch._dynamo.config.recompile_limit = 256
    torch._dynamo.config.fail_on_recompile_limit_hit = True


@dataclass(frozen=True)
class Divergence:
    """Where a loss or a weight first was not finite."""

    epoch: int
    step: int
    terms: tuple[str, ...]


class Training:
    """A training between two steps; `run` carries it on to its end.

    Args:
        recipe: what to train.
        data: the mapped training images.
        labels: the replicate's labels.
        device: where.
        capture: on a GPU, run steps as CUDA graphs: the same bits, faster.
        say: told if steps cannot be captured, and why. In a compiled network that is an error.
    """

    def __init__(
        self,
        recipe: TrainRecipe,
        data: Images,
        labels: LabelFile,
        device: torch.device,
        *,
        capture: bool = True,
        say: Callable[[str], None] = print,
    ):
        self.recipe = recipe
        self.settings = recipe.training
        self.device = device
        held_out = labels.validation & (not recipe.refit)
        train = ~held_out
        self.pixels = Pixels.of(data, labels.index[train], device)
        self.labels = torch.from_numpy(labels.noisy[train]).to(device)
        self.probe = Probe(
            validation=Pixels.of(data, labels.index[held_out], device),
            validation_labels=torch.from_numpy(labels.noisy[held_out]).to(device),
            training=self.pixels,
            noisy=self.labels,
            clean=torch.from_numpy(labels.clean[train]).to(device),
            classes=len(data.classes),
            precision=self.settings.precision,
        )
        self.augment = Augmentation(recipe.crop, recipe.flip)
        with drawing_from(recipe.seeds.initialisation):
            self.method = build_method(
                recipe.composition,
                recipe.network,
                images=len(self.labels),
                channels=data.images.shape[1],
                classes=len(data.classes),
                bfloat16=self.settings.precision == "bfloat16",
            )
        initialise(self.method, torch.Generator().manual_seed(recipe.seeds.initialisation))
        self.method.to(device).train()
        if self.settings.compile:
            compile_stages(self.method.network)
        self.optimiser = Sgd(self.method.parameters(), self.settings)
        self.generators = {
            "order": torch.Generator(device).manual_seed(recipe.seeds.order),
            "augmentation": torch.Generator(device).manual_seed(recipe.seeds.augmentation),
            "dropout": torch.Generator(device).manual_seed(recipe.seeds.dropout),
            "method": torch.Generator(device).manual_seed(recipe.seeds.method),
        }
        self.cut = Cut(len(self.labels), self.settings.batch_size)
        self.steps = self.cut.steps
        self.epoch = self.step = 0
        self.permutation = self._permute()
        # One row per step, read once per epoch: no step waits for the device to tell its loss.
        self.log = torch.zeros(self.steps, len(self.method.term_names), device=device)
        self.history: list[dict[str, float]] = []
        self.best: Weights = {}
        self.best_epoch, self.best_accuracy = -1, -1.0
        self.epoch_seconds = [0.0]
        self.divergence: Divergence | None = None
        self.stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self.stream = torch.cuda.Stream(device)
            self.numbers = torch.zeros(self.steps, 2, device=device)
            self.position = scalar(device, torch.long)
            # A compiled step would be compiled while it is looked at, and seen as it is traced.
            look = None if self.settings.compile else say
            self.graphs = Graphs(self.generators.values(), self.stream, capture, look)

    def _permute(self) -> Tensor:
        return torch.randperm(len(self.labels), generator=self.generators["order"], device=self.device)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.divergence is not None or self.epoch == self.settings.epochs

    def run(self) -> Iterator[None]:
        """Train to the end, pausing after every step: between two of them `state` may be called.

        On a GPU a pause tells that the step is under way, not that it is done.
        """
        if self.settings.compile:
            allow_versions()
        if self.stream is not None:
            self.stream.wait_stream(torch.cuda.current_stream(self.device))
        try:
            while not self.finished:
                started = time.perf_counter()
                with on_stream(self.stream):
                    self._train_step()
                    if self.step == self.steps:
                        self._end_epoch()
                self.epoch_seconds[-1] += time.perf_counter() - started
                if self.step == 0:
                    self.epoch_seconds.append(0.0)
                yield
        except BaseException:
            # Whoever gets the memory next, in another thread, must not find steps of this training at work in it.
            with suppress(RuntimeError):  # what the device says now follows from the error
                self._await()
            raise

    def _train_step(self) -> None:
        start, stop = self.cut.bounds(self.step)
        if self.stream is None:
            index = self.permutation[start:stop]
            rate = learning_rate(self.settings, self.epoch)
            self.log[self.step] = self._update(index, rate, self._progress(self.step))
        else:
            if self.step == 0 or not self.graphs.taken:
                self._tell_device()
            self.graphs(self._step_on_device, stop - start)
        self.step += 1

    def _progress(self, step: int) -> float:
        return (self.epoch + step / self.steps) / self.settings.epochs

    def _update(self, index: Tensor, rate: float | Tensor, progress: float | Tensor) -> Tensor:
        """One update on the images at `index` (B,); returns the step's losses."""
        batch = self.pixels[index]
        views = [self.augment(batch, self.generators["augmentation"]) for _ in range(self.method.views)]
        images = self.pixels.normalise(views[0] if len(views) == 1 else torch.cat(views))
        generators = Generators(self.generators["dropout"], self.generators["method"])
        losses: Tensor = self.method(images, self.labels[index], index, progress, generators)
        losses[0].backward()
        self.optimiser.step(rate)
        return losses.detach()

    def _tell_device(self) -> None:
        """Put the numbers of the epoch's steps on the device, for steps that ask the host for nothing."""
        rate = learning_rate(self.settings, self.epoch)
        self.numbers.copy_(torch.tensor([[rate, self._progress(step)] for step in range(self.steps)]))
        self.position.fill_(self.step)

    def _step_on_device(self, size: int) -> None:
        """The step at `position`, whose batch has `size` images."""
        row = self.position.view(1)
        # `Cut.bounds` as arithmetic on the device.
        start = self.position * self.cut.smallest + self.position.clamp_max(self.cut.larger)
        index = self.permutation[start + torch.arange(size, device=self.device)]
        rate, progress = self.numbers.index_select(0, row)[0].unbind()
        self.log.index_copy_(0, row, self._update(index, rate, progress)[None])
        self.position += 1

    def _end_epoch(self) -> None:
        self.divergence = self._diverged()
        means = self.log.double().mean(0).tolist()
        row: dict[str, float] = {"epoch": self.epoch + 1, "learning_rate": learning_rate(self.settings, self.epoch)}
        row |= dict(zip(self.method.term_names, means, strict=True))
        measured = UNMEASURED
        last = self.epoch + 1 == self.settings.epochs
        if self.divergence is None and (last or (self.epoch + 1) % self.settings.measure_every == 0):
            measured = self.probe.measure(self.method.network)
            # Without validation images no epoch is better than the last.
            if measured.validation_accuracy > self.best_accuracy or (last and not self.best):
                self.best = {k: v.detach().clone() for k, v in self.method.network.state_dict().items()}
                self.best_epoch, self.best_accuracy = self.epoch + 1, measured.validation_accuracy
        self.epoch, self.step = self.epoch + 1, 0
        self.log.zero_()
        self.permutation.copy_(self._permute())
        self.history.append(row | asdict(measured))
        if self.finished:
            self._await()

    def _diverged(self) -> Divergence | None:
        wrong = ~self.log.isfinite()
        if bool(wrong.any()):
            step = int(wrong.any(1).nonzero()[0])
            terms = [n for n, bad in zip(self.method.term_names, wrong[step].tolist(), strict=True) if bad]
            return Divergence(self.epoch + 1, self.epoch * self.steps + step + 1, tuple(terms))
        numbers = [w for w in self.method.state_dict().values() if w.is_floating_point()]
        if not bool(torch.stack(torch._foreach_norm(numbers, math.inf)).isfinite().all()):
            return Divergence(self.epoch + 1, (self.epoch + 1) * self.steps, ("weights",))
        return None

    def _await(self) -> None:
        """Wait for the steps that are under way."""
        if self.stream is not None:
            self.stream.synchronize()

    def state(self) -> tuple[Weights, dict[str, str]]:
        """Everything the rest of the training depends on: tensors on the CPU, and the rest as JSON."""
        self._await()
        tensors = {f"method.{k}": v for k, v in self.method.state_dict().items()}
        tensors |= {f"momentum.{i}": v for i, v in enumerate(self.optimiser.momentum)}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        tensors |= {f"generator.{k}": v.get_state() for k, v in self.generators.items()}
        tensors |= {"permutation": self.permutation, "log": self.log}
        rest = {
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "best": [self.best_epoch, self.best_accuracy],
            "seconds": self.epoch_seconds,
        }
        return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, {"state": json.dumps(rest)}

    def restore(self, tensors: Weights, metadata: dict[str, str]) -> None:
        """Put back what `state` gave for the same recipe."""
        rest: dict[str, Any] = json.loads(metadata["state"])

        def part(prefix: str) -> Weights:
            found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            return {k: v.to(self.device) for k, v in found.items()}

        self.method.load_state_dict(part("method."))
        for position, momentum in part("momentum.").items():
            self.optimiser.momentum[int(position)].copy_(momentum)
        self.best = part("best.")
        for name, generator in self.generators.items():
            generator.set_state(tensors[f"generator.{name}"])
        self.permutation.copy_(tensors["permutation"])
        self.log.copy_(tensors["log"])
        self.epoch, self.step, self.history = rest["epoch"], rest["step"], rest["history"]
        self.best_epoch, self.best_accuracy = rest["best"]
        self.epoch_seconds = list(rest["seconds"])

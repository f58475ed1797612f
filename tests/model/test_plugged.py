"""What plugins bring, in a training step: the examples' network and term, and a term that has a module of its own."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from collabpipe.catalogue.stages import Stages
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.plugins import activate, load
from collabpipe.methods.composition import Composition, OwnTerm
from collabpipe.methods.registry import KINDS
from collabpipe.methods.resolve import compose, read_methods
from collabpipe.model.heads import Activations
from collabpipe.model.method import Generators, build_method
from collabpipe.model.networks import StagedNetwork, build_network, initialise
from collabpipe.model.terms import build_term
from collabpipe.model.terms.base import Step, TermLoss
from collabpipe.settings.training import NetworkSettings
from tests.workspaces import PLUGINS, REPOSITORY

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def examples() -> Iterator[None]:
    """The plugins of the examples, in use."""
    activate([load(path) for path in sorted(PLUGINS.glob("*.py"))])
    yield
    activate([])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain() -> tuple[NetworkSettings, Stages]:
    settings = NetworkSettings(kind="plain", width=4)
    return settings, settings.stages_of(8, 128)


def of_kind(kind: str) -> Composition:
    return compose(read_methods({"asked": {"kind": kind}}), "asked", plain()[1])


def test_the_examples_network_has_the_stages_that_planning_knows() -> None:
    settings, stages = plain()
    network = build_network(settings, 1, 3)
    initialise(network, generator())
    features = network.stem(torch.randn(2, 1, 8, 8, generator=generator(1)))

    shapes = [(features := stage(features)).shape for stage in network.stages.values()]

    assert tuple(network.stages) == stages.names
    assert [(shape[1], shape[2] * shape[3]) for shape in shapes] == [
        *zip(stages.channels, stages.positions, strict=True)
    ]


def test_the_examples_network_gets_its_weights_from_the_generator_alone() -> None:
    found = []
    for outside in (1, 2):
        torch.manual_seed(outside)
        network = build_network(plain()[0], 1, 3)
        initialise(network, generator(7))
        found.append(network.state_dict())

    torch.testing.assert_close(found[0], found[1], rtol=0.0, atol=0.0)


def test_the_network_that_the_page_shows_gives_logits(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "plugins.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    (tmp_path / "mine.py").write_text(shown)
    activate([load(tmp_path / "mine.py")])
    network = build_network(NetworkSettings(kind="plain"), 1, 3)
    initialise(network, generator())

    assert network(torch.randn(2, 1, 8, 8, generator=generator(1))).shape == (2, 3)


@pytest.mark.parametrize("kind", ["confidence", "smoothed", *sorted(KINDS.own - {"combined"})])
def test_every_kind_trains_on_the_examples_network(kind: str) -> None:
    method = build_method(of_kind(kind), plain()[0], 20, 1, 3)
    initialise(method, generator(3))
    images = torch.randn(method.views * 6, 1, 8, 8, generator=generator(9))

    values = method.train()(images, torch.arange(6) % 3, torch.arange(6), 1.0, Generators(generator(1), generator(2)))
    values[0].backward()

    assert values.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.network.parameters())


def test_the_examples_term_is_minus_the_entropy() -> None:
    (term,) = of_kind("confidence").terms
    loss = build_term(term, build_network(plain()[0], 1, 4), 20)
    certain = torch.tensor([[[100.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])

    value = loss(Step(Activations({}, certain), torch.arange(2), generator()))

    assert value.item() == pytest.approx(-math.log(4) / 2)


DRAWING: dict[str, Callable[[Tensor], object]] = {
    "multinomial": lambda t: t.multinomial(1),
    "random_": lambda t: t.clone().random_(),
    "normal_": lambda t: t.clone().normal_(),
    "uniform_": lambda t: t.clone().uniform_(),
    "exponential_": lambda t: t.clone().exponential_(),
    "bernoulli": lambda t: t.bernoulli(),
    "bernoulli_": lambda t: t.clone().bernoulli_(0.3),
    "rand_like": torch.rand_like,
    "randn_like": torch.randn_like,
    "randint_like": lambda t: torch.randint_like(t, 3),
    "randperm": lambda t: torch.randperm(len(t)),
    "poisson": torch.poisson,
    "dropout": nn.functional.dropout,
    "rrelu": lambda t: nn.functional.rrelu(-t, training=True),
    "a distribution": lambda t: torch.distributions.Normal(t, 1.0).sample(),
    "a seed": lambda _: torch.manual_seed(1),
    "numpy": lambda _: np.random.rand(),
    "Python": lambda _: random.random(),  # noqa: S311
}
"""Ways to move a global generator; the text of a plugin shows some of them, and here none of them is read."""


class DrawingTerm(OwnTerm):
    term: Literal["drawing"] = "drawing"
    way: str

    def loss(self, step: Step) -> Tensor:
        DRAWING[self.way](torch.full((4, 3), 0.5))
        return step.activations.logits.mean()


class DrawingModule(TermLoss[DrawingTerm]):
    def forward(self, step: Step) -> Tensor:
        DRAWING[self.term.way](torch.full((4, 3), 0.5))
        return step.activations.logits.mean()


class ModuleTerm(DrawingTerm):
    def module(self, network: StagedNetwork, images: int) -> TermLoss[Any]:
        return DrawingModule(self, network, images)


@pytest.fixture
def _global_generators_as_before() -> Iterator[None]:
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    yield
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])


@pytest.mark.usefixtures("_global_generators_as_before")
@pytest.mark.parametrize("way", DRAWING)
def test_a_loss_that_moves_a_global_generator_is_refused_with_its_line(way: str) -> None:
    step = Step(Activations({}, torch.zeros(1, 2, 3)), torch.arange(2), generator())
    for term, function in (
        (DrawingTerm(weight=1.0, way=way), DrawingTerm.loss),
        (ModuleTerm(weight=1.0, way=way), DrawingModule.forward),
    ):
        loss, line = build_term(term, build_network(plain()[0], 1, 3), 20), function.__code__.co_firstlineno
        told = rf"{__file__}:{line}: {function.__name__} draws from global randomness.*step\.generator"
        with pytest.raises(CollabpipeError, match=told):
            loss(step)


class SeededTerm(OwnTerm):
    term: Literal["seeded"] = "seeded"

    def loss(self, step: Step) -> Tensor:
        drawn = torch.full((4, 3), 0.5).multinomial(1, generator=step.generator).sum()
        return drawn + torch.empty(3).uniform_(generator=step.generator).sum()


def test_a_loss_that_draws_from_the_steps_generator_is_fine_and_its_draws_are_its_seeds() -> None:
    loss = build_term(SeededTerm(weight=1.0), build_network(plain()[0], 1, 3), 20)
    values = []
    for seed in (1, 1, 2):
        values.append(loss(Step(Activations({}, torch.zeros(1, 2, 3)), torch.arange(2), generator(seed))).item())

    assert values[0] == values[1] != values[2]


@pytest.mark.usefixtures("_global_generators_as_before")
def test_a_network_that_moves_a_global_generator_in_training_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "network.py"
    path.write_text(
        "from collabpipe import plugin\n\n"
        "@plugin.network('noisy', plugin.Layout(width=4, channels=(1, 1), strides=(1, 1)))\n"
        "def noisy(width, channels, classes):\n"
        "    from torch import nn\n"
        "    from collabpipe.model.networks import Stage, StagedNetwork\n"
        "    class Noisy(nn.Conv2d):\n"
        "        def forward(self, features):\n"
        "            drawn = features.abs().flatten(1).add(1).multinomial(1).sum()\n"
        "            return super().forward(features) + drawn\n"
        "    stages = {name: Stage(Noisy(width, width, 3, 1, 1)) for name in ('stage1', 'stage2')}\n"
        "    return StagedNetwork(nn.Conv2d(channels, width, 3, 1, 1), stages, width, classes)\n"
    )
    activate([load(path)])
    method = build_method(Composition(), NetworkSettings(kind="noisy"), 20, 1, 3)
    initialise(method, generator(3))

    with pytest.raises(CollabpipeError, match=rf"{path}:3: noisy draws from global randomness.*drop and channel_drop"):
        method(torch.zeros(6, 1, 8, 8), torch.arange(6) % 3, torch.arange(6), 1.0, Generators(generator(), generator()))


class Count(TermLoss["CountTerm"]):
    def __init__(self, term: CountTerm, network: StagedNetwork, images: int):
        super().__init__(term, network, images)
        self.convolutions = sum(isinstance(part, nn.Conv2d) for part in network.modules())
        self.register_buffer("seen", torch.zeros(images))

    def forward(self, step: Step) -> Tensor:
        self.get_buffer("seen")[step.index] += 1
        return self.get_buffer("seen").sum() * self.convolutions


class CountTerm(OwnTerm):
    term: Literal["count"] = "count"

    def module(self, network: StagedNetwork, images: int) -> TermLoss[Any]:
        return Count(self, network, images)


def test_a_term_may_bring_a_module_that_looks_at_the_network_and_remembers() -> None:
    loss = build_term(CountTerm(weight=1.0), build_network(plain()[0], 1, 3), 20)
    step = Step(Activations({}, torch.zeros(1, 2, 3)), torch.tensor([3, 5]), generator())

    assert [loss(step).item(), loss(step).item()] == [2 * 4, 4 * 4]
    assert "seen" in loss.state_dict()

"""What plugins bring, in a training step: the examples' network and term, and a term that has a module of its own."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from collabpipe.catalogue.stages import Stages
from collabpipe.common.plugins import load, use
from collabpipe.methods.composition import Composition, OwnTerm
from collabpipe.methods.registry import KINDS
from collabpipe.methods.resolve import compose, read_methods
from collabpipe.model.heads import Activations
from collabpipe.model.method import Generators, build_method
from collabpipe.model.networks import StagedNetwork, build_network, initialise
from collabpipe.model.terms import build_term
from collabpipe.model.terms.base import Step, TermLoss
from collabpipe.settings.training import NetworkSettings
from tests.workspaces import PLUGINS

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def examples() -> Iterator[None]:
    """The plugins of the examples, in use."""
    use([load(path) for path in sorted(PLUGINS.glob("*.py"))])
    yield
    use([])


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
    use([load(tmp_path / "mine.py")])
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

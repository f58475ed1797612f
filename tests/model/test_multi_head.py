"""Song and Chai's heads on the study's networks: rescaled gradients, the loss, and what inference keeps."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from collabpipe.host.signals import Interruption
from collabpipe.jobs.train import train
from collabpipe.methods.composition import Branches, Composition
from collabpipe.methods.registry import KINDS
from collabpipe.model import heads as passes
from collabpipe.model.heads import Activations, BranchedHeadsRunner
from collabpipe.model.method import Generators, Method, build_method
from collabpipe.model.networks import StagedNetwork, build_network, initialise
from collabpipe.settings.training import ExecutionSettings, NetworkSettings
from tests.workspaces import Lab

torch.set_num_threads(1)

PATTERNS = ("hierarchical", "simple", "instances")
NETWORKS = {"resnet18": NetworkSettings(kind="resnet18", width=8), "vgg16": NetworkSettings(kind="vgg16", width=8)}
BATCH, CLASSES = 4, 3
LABELS = torch.tensor([0, 2, 1, 0])


def composed(network: NetworkSettings, pattern: str, **keys: Any) -> Composition:
    def refuse(*asked: object) -> Composition:
        raise KeyError(asked)

    kind = KINDS["multi_head"].model_validate({"pattern": pattern, "heads": 4, "drop": 0, "channel_drop": 0, **keys})
    return kind.compose(network.stages_of(8, 128), refuse)


def at_work(composition: Composition, network: NetworkSettings, classes: int = CLASSES) -> Method:
    method = build_method(composition, network, BATCH, 3, classes)
    initialise(method, torch.Generator().manual_seed(1))
    return method.train()


def gradients(method: Method) -> dict[str, Tensor]:
    """Gradients of a step's whole loss, by the parameter's name."""
    images = torch.randn(BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    masks = Generators(torch.Generator().manual_seed(3), torch.Generator().manual_seed(4))
    method(images, LABELS, torch.arange(BATCH), 1.0, masks)[0].backward()
    return {name: parameter.grad for name, parameter in method.named_parameters() if parameter.grad is not None}


# --- rescaling -------------------------------------------------------------------------------------------------------


def place(name: str) -> str:
    """Where a parameter of a method stands: "input", a stage or "classifier"."""
    owner, part, rest = name.split(".", 2)
    if owner == "extra":
        return part
    return {"stem": "input", "classifier": "classifier"}.get(part, rest.split(".")[0])


def shares(network: str, pattern: str) -> dict[str, float]:
    """The share of the plain gradient that arrives, by place; 1 where none is named.

    A binary tree halves at the entry of its last stage, and what comes back is halved again at the last but one.
    """
    stages = ("input", *NETWORKS[network].stages)
    if pattern == "hierarchical":
        return {**dict.fromkeys(stages[:-2], 1 / 4), stages[-2]: 1 / 2}
    # Instances split at the image, which has no gradient to divide.
    return dict.fromkeys(stages[:-1], 1 / 4) if pattern == "simple" else {}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("network", NETWORKS)
def test_gradients_are_those_without_rescaling_over_the_fan_outs_above(
    network: str, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    composition = composed(NETWORKS[network], pattern, drop=0.5, channel_drop=0.1)
    rescaled = gradients(at_work(composition, NETWORKS[network]))
    with monkeypatch.context() as patch:
        patch.setattr(passes, "_fork", lambda features, fan_out: [features] * fan_out)
        plain = gradients(at_work(composition, NETWORKS[network]))

    assert rescaled.keys() == plain.keys() == dict(at_work(composition, NETWORKS[network]).named_parameters()).keys()
    expected = shares(network, pattern)
    assert {place(name) for name in rescaled} >= set(expected) - {"input"}
    for name, value in rescaled.items():
        share = expected.get(place(name), 1.0)
        # Two and four are powers of two: dividing early or late rounds alike.
        torch.testing.assert_close(value, share * plain[name], rtol=1e-5, atol=1e-9, msg=name)


def scalar_network(weights: tuple[float, ...]) -> StagedNetwork:
    """A product of numbers: a stem, four stages and a classifier, each one 1×1 convolution of one channel."""
    stem, *stages = (nn.Conv2d(1, 1, 1, bias=False) for _ in weights)
    network = StagedNetwork(stem, {f"stage{i}": stage for i, stage in enumerate(stages, 1)}, 1, 1)
    with torch.no_grad():
        for layer, weight in zip((stem, *stages), weights, strict=True):
            layer.weight.fill_(weight)
        network.classifier.weight.fill_(1.0)
        network.classifier.bias.fill_(0.0)
    return network


def slopes(heads: BranchedHeadsRunner) -> dict[str, list[float]]:
    """The gradient of the sum of all logits for an image of one pixel of value 2, of each module side by side."""
    activations = heads(torch.full((1, 1, 1, 1), 2.0), torch.Generator())
    activations.logits.sum().backward()
    network = heads.network
    own: dict[str, Any] = {"input": network.stem, **dict(network.stages.items()), "classifier": network.classifier}
    return {
        name: [part.weight.grad.item() for part in (own[name], *copies.children())]
        for name, copies in heads.extra.items()
    }


def test_a_tree_of_products_has_the_gradient_worked_out_by_hand() -> None:
    # stage3 is (1, 2) in the two branches, stage4 (1, 2, 3, 4) in the four: with 2·3·1·5 = 30 in front of them the
    # logits are 30·(1·1, 1·2, 2·3, 2·4) = 30, 60, 180, 240.
    spares = [scalar_network((7.0, 7.0, 7.0, 2.0, value)) for value in (2.0, 3.0, 4.0)]
    tree = Branches(pattern="hierarchical", heads=4, splits={"stage3": 2, "stage4": 2})
    heads = BranchedHeadsRunner(scalar_network((3.0, 1.0, 5.0, 1.0, 1.0)), tree, spares)
    assert slopes(heads) == {
        # Their sum, 510, over the weight (3, 1 and 5) and over both splits' two.
        "input": [510 / 3 / 4],
        "stage1": [510 / 1 / 4],
        "stage2": [510 / 5 / 4],
        # One split above: (30 + 60)/1 and (180 + 240)/2, halved.
        "stage3": [90 / 2, 210 / 2],
        # None above.
        "stage4": [30.0, 30.0, 60.0, 60.0],
        "classifier": [30.0, 60.0, 180.0, 240.0],
    }


def test_a_simple_split_of_products_has_the_gradient_worked_out_by_hand() -> None:
    spares = [scalar_network((7.0, 7.0, 7.0, 7.0, value)) for value in (2.0, 3.0, 4.0)]
    simple = Branches(pattern="simple", heads=4, splits={"stage4": 4})
    heads = BranchedHeadsRunner(scalar_network((3.0, 1.0, 5.0, 1.0, 1.0)), simple, spares)
    # Logits 30·(1, 2, 3, 4), together 300.
    assert slopes(heads) == {
        "input": [300 / 3 / 4],
        "stage1": [300 / 1 / 4],
        "stage2": [300 / 5 / 4],
        "stage3": [300 / 1 / 4],
        "stage4": [30.0, 30.0, 30.0, 30.0],
        "classifier": [30.0, 60.0, 90.0, 120.0],
    }


# --- the loss --------------------------------------------------------------------------------------------------------


def loss_and_gradient(pattern: str, logits: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """The whole loss of heads that answer with `logits` (H, B, K), and its gradient to them."""
    leaf = logits.clone().requires_grad_()
    method = at_work(composed(NETWORKS["resnet18"], pattern), NETWORKS["resnet18"], classes=logits.shape[2])
    method.runner = lambda *_: Activations({}, leaf)
    images = torch.zeros(len(labels), 3, 8, 8)
    index = torch.arange(len(labels))
    loss = method(images, labels, index, 1.0, Generators(torch.Generator(), torch.Generator()))[0]
    loss.backward()
    assert leaf.grad is not None
    return loss.item(), leaf.grad


@pytest.mark.parametrize("pattern", PATTERNS)
def test_loss_and_gradient_of_four_heads_worked_out_by_hand(pattern: str) -> None:
    # Head 0 says (9 : 1), which is (3 : 1) at T = 2; the others say (1 : 1). The label is class 0.
    logits = torch.zeros(4, 1, 2)
    logits[0, 0, 0] = math.log(9.0)
    loss, gradient = loss_and_gradient(pattern, logits, torch.tensor([0]))

    hard = math.log(10 / 9) + 3 * math.log(2)
    # The peers of head 0 say (1 : 1); what the other heads are held to is the same to an even prediction.
    soft = -0.5 * math.log(3 / 4) - 0.5 * math.log(1 / 4) + 3 * math.log(2)
    assert loss == pytest.approx(0.5 * hard + 0.5 * soft, rel=1e-6)

    # b·(p - y) + (1 - b)/T·(q - t): p at T = 1, q at T = 2, t the peers' mean at T = 2, no T², t held fixed.
    own = 0.5 * (0.9 - 1.0) + 0.5 / 2 * (0.75 - 0.5)
    # The mean of the others' logits is a third of ln 9: at T = 2 (9^(1/6) : 1).
    target = 9 ** (1 / 6) / (9 ** (1 / 6) + 1)
    other = 0.5 * (0.5 - 1.0) + 0.5 / 2 * (0.5 - target)
    expected = torch.tensor([own, other, other, other])
    torch.testing.assert_close(gradient[:, 0], torch.stack([expected, -expected], 1), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_gradient_has_its_closed_form_so_targets_are_held_fixed(pattern: str) -> None:
    logits = 3.0 * torch.randn(4, 5, 7, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    labels = torch.tensor([0, 6, 3, 3, 1])
    _, gradient = loss_and_gradient(pattern, logits, labels)
    truth = nn.functional.one_hot(labels, 7).double()
    for head in range(4):
        others = torch.stack([logits[h] for h in range(4) if h != head]).mean(0)
        hard = logits[head].softmax(-1) - truth
        soft = (logits[head] / 2).softmax(-1) - (others / 2).softmax(-1)
        # A mean over five images, a sum over the heads.
        torch.testing.assert_close(gradient[head], (0.5 * hard + 0.25 * soft) / 5, rtol=1e-5, atol=1e-8)


def test_heads_that_agree_feel_the_label_alone() -> None:
    logits = torch.randn(1, 5, 7, generator=torch.Generator().manual_seed(6)).repeat(4, 1, 1)
    labels = torch.tensor([0, 6, 3, 3, 1])
    _, gradient = loss_and_gradient("hierarchical", logits, labels)
    hard = logits[0].softmax(-1) - nn.functional.one_hot(labels, 7)
    for head in gradient:
        torch.testing.assert_close(head, 0.5 * hard / 5, rtol=1e-4, atol=1e-6)


# --- what inference keeps --------------------------------------------------------------------------------------------


RESNET_STAGES = {"stem": 1_856, "stage1": 147_968, "stage2": 525_568, "stage3": 2_099_712, "stage4": 8_393_728}
VGG_STAGES = {"stage1": 38_976, "stage2": 221_952, "stage3": 1_476_864, "stage4": 5_902_848, "stage5": 7_082_496}
CLASSIFIER = 512 * 10 + 10
COPIES = {"hierarchical": (1, 3), "simple": (0, 3), "instances": (3, 3)}
"""Further branches at the last stage but one and at the last."""


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("network", "parts"), [("resnet18", RESNET_STAGES), ("vgg16", VGG_STAGES)])
def test_parameters_at_the_true_width(network: str, parts: dict[str, int], pattern: str) -> None:
    settings = NetworkSettings.model_validate({"kind": network})
    with torch.device("meta"):
        method = build_method(composed(settings, pattern), settings, BATCH, 3, 10)
    found = {name: sum(p.numel() for p in m.parameters()) for name, m in method.network.stages.items()}
    assert {"stem": sum(p.numel() for p in method.network.stem.parameters()), **found} == {"stem": 0, **parts}

    plain = sum(parts.values()) + CLASSIFIER
    assert plain == {"resnet18": 11_173_962, "vgg16": 14_728_266}[network]
    last_but_one, last = COPIES[pattern]
    values = list(parts.values())
    expected = plain + last_but_one * values[-2] + last * (values[-1] + CLASSIFIER)
    if pattern == "instances":
        expected = 4 * plain
    assert sum(p.numel() for p in method.network.parameters()) == plain
    assert sum(p.numel() for p in method.parameters()) == expected


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("network", NETWORKS)
def test_inference_is_the_baselines_network_and_answers_as_head_zero(network: str, pattern: str) -> None:
    settings = NETWORKS[network]
    method = at_work(composed(settings, pattern), settings)
    baseline = build_network(settings, 3, CLASSES)
    kept = method.network.state_dict()
    assert [(k, v.shape) for k, v in kept.items()] == [(k, v.shape) for k, v in baseline.state_dict().items()]

    baseline.load_state_dict(kept)
    images = torch.randn(BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    method.eval()
    with torch.no_grad():
        logits = method.runner(images, torch.Generator()).logits
        assert logits.shape == (4, BATCH, CLASSES)
        torch.testing.assert_close(baseline.eval()(images), logits[0], rtol=0.0, atol=0.0)
        assert all((head - logits[0]).abs().max() > 1e-3 for head in logits[1:])


@pytest.mark.parametrize(("network", "pattern"), [("resnet18", "hierarchical"), ("vgg16", "simple")])
def test_checkpoint_of_a_training_loads_into_the_baselines_network(
    lab: Lab, tmp_path: Path, network: str, pattern: str
) -> None:
    settings = {"width": 4} if network == "resnet18" else {"width": 8}
    changes = {
        "networks": {"resnet8": None, network: settings},
        "methods": {"output": None, "output_control": None, "multi_head": {"pattern": pattern, "heads": 4}},
        "seeds": [0],
        "training": {"epochs": 1},
    }
    name = f"digits/symmetric-0.5/{network}/multi_head/seed0"
    recipe = lab.plan(changes).runs[name]
    paths, _ = lab.lay_out(tmp_path, changes)
    train(recipe, paths, ExecutionSettings(), Interruption())

    weights = load_file(paths.run(recipe.run) / "last.safetensors")
    baseline = build_network(recipe.network, 1, 10)
    assert {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in baseline.state_dict().items()}
    assert all(parameters.isfinite().all() for parameters in weights.values())
    baseline.load_state_dict(weights, strict=True)
    start = build_method(recipe.composition, recipe.network, BATCH, 1, 10)
    initialise(start, torch.Generator().manual_seed(recipe.seeds.initialisation))
    # Head 0 itself was trained, not a copy that inference leaves behind.
    moved = dict(start.network.named_parameters())
    assert all(not value.equal(moved[key]) for key, value in baseline.named_parameters())

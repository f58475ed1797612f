"""How a batch runs: which masks the heads share, what is run once, and what the branches send into their trunk."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from collabpipe.methods.composition import Branches, Composition, Passes
from collabpipe.methods.registry import KINDS
from collabpipe.model.heads import BranchedHeadsRunner, VirtualHeadsRunner, drop_channels
from collabpipe.model.method import build_method
from collabpipe.model.networks import StagedNetwork, build_network, initialise
from collabpipe.model.tensors import pool
from collabpipe.settings.training import NetworkSettings

# Networks this small are slower on two threads than on one, by far where cores are shared.
torch.set_num_threads(1)

NETWORK = NetworkSettings(kind="resnet8", width=4)
PLACES = ("input", *NETWORK.stages, "classifier")
SPLITS = ("input", "stage1", "stage2", "stage3", "classifier")
CLASSES = 3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=generator(9))


def small_network(seed: int = 1) -> StagedNetwork:
    network = build_network(NETWORK, 1, CLASSES)
    initialise(network, generator(seed))
    return network.train()


# --- masks -----------------------------------------------------------------------------------------------------------


class Fresh(nn.Module):
    """A stage that keeps what reaches it and answers with ones, so that each mask is seen alone."""

    def forward(self, features: Tensor) -> Tensor:
        self.seen = features
        return torch.ones_like(features)


IMAGES, CHANNELS = 6, 40


def see_through(stage: Callable[[], nn.Module]) -> StagedNetwork:
    """A network whose classifier answers with the pooled features themselves."""
    stages = {name: stage() for name in NETWORK.stages}
    network = StagedNetwork(nn.Identity(), stages, CHANNELS, CHANNELS)
    nn.init.eye_(network.classifier.weight)
    nn.init.zeros_(network.classifier.bias)
    return network


def inputs_of_each_part(passes: Passes) -> dict[str, Tensor]:
    """What reaches each stage and the classifier, (rows, channels), if every mask is applied to ones."""
    network = see_through(Fresh)
    activations = VirtualHeadsRunner(network, passes)(torch.ones(IMAGES, CHANNELS, 2, 2), generator())
    seen = {}
    for name, stage in network.stages.items():
        assert isinstance(stage, Fresh)
        # Whole maps are dropped: the mean of a map is its every value.
        assert stage.seen.eq(pool(stage.seen)[:, :, None, None]).all()
        seen[name] = pool(stage.seen)
        # The losses see a stage before the mask behind it.
        assert activations.stages[name].eq(1.0).all()
    return seen | {"classifier": activations.logits.flatten(0, 1)}


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("split", SPLITS)
def test_dropout_sites_and_rates_are_the_same_whatever_the_split(split: str, heads: int) -> None:
    seen = inputs_of_each_part(Passes(heads=heads, split=split, drop=0.75, channel_drop=0.5))
    # Nothing in front of the first stage.
    assert seen.pop("stage1").eq(1.0).all()
    for place, rate in (("stage2", 0.5), ("stage3", 0.5), ("classifier", 0.75)):
        mask = seen.pop(place)
        # What is kept is scaled up by 1/(1 - rate): 2 and 4, exact in floating point.
        assert set(mask.unique().tolist()) == {0.0, 1 / (1 - rate)}
        assert (mask == 0.0).float().mean().item() == pytest.approx(rate, abs=0.1)
    assert not seen


def test_channel_dropout_stands_between_stages_and_dropout_before_the_classifier() -> None:
    between = inputs_of_each_part(Passes(heads=2, split="input", channel_drop=0.5))
    assert between["classifier"].eq(1.0).all()
    assert all(between[place].eq(0.0).any() for place in ("stage2", "stage3"))
    before = inputs_of_each_part(Passes(heads=2, split="input", drop=0.5))
    assert before["classifier"].eq(0.0).any()
    assert all(before[place].eq(1.0).all() for place in NETWORK.stages)


@pytest.mark.parametrize("split", ["input", "stage1", "stage2", "stage3", "classifier"])
def test_masks_are_drawn_once_above_the_split_and_per_head_below(split: str) -> None:
    seen = inputs_of_each_part(Passes(heads=3, split=split, drop=0.5, channel_drop=0.5))
    for place in ("stage2", "stage3", "classifier"):
        # The mask in front of the split belongs to the part that is run again.
        if PLACES.index(place) < PLACES.index(split):
            assert len(seen[place]) == IMAGES
            continue
        first, second, third = seen[place].unflatten(0, (3, IMAGES))
        for one, other in ((first, second), (first, third), (second, third)):
            # Independent masks of rate ½ differ in about half of all channels.
            assert (one != other).float().mean().item() == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(
    ("split", "shared"),
    [("input", 0), ("stage1", 0), ("stage2", 0), ("stage3", 1), ("classifier", 2)],
)
def test_a_channel_dropped_above_the_split_is_dropped_in_every_head(split: str, shared: int) -> None:
    # Stages that pass on what they get: a head's logits are the product of all masks on its way.
    network = see_through(nn.Identity)
    passes = Passes(heads=2, split=split, drop=0.5, channel_drop=0.5)
    activations = VirtualHeadsRunner(network, passes)(torch.ones(IMAGES, CHANNELS, 1, 1), generator())
    first, second = activations.logits
    if shared:
        # What the last stage that ran once got, and passed on, is the product of the shared masks.
        upstream = activations.stages[PLACES[PLACES.index(split) - 1]][:, :, 0, 0]
        assert upstream.eq(0.0).float().mean().item() == pytest.approx(1 - 0.5**shared, abs=0.12)
        assert first[upstream == 0.0].eq(0.0).all()
        assert second[upstream == 0.0].eq(0.0).all()
    # Alive in both heads: ½ to the power of the masks, where shared ones count once.
    both = (first.ne(0.0) & second.ne(0.0)).float().mean().item()
    assert both == pytest.approx(0.5 ** (shared + 2 * (3 - shared)), abs=0.06)


@pytest.mark.parametrize("split", SPLITS)
def test_masks_come_from_the_given_generator_alone(split: str) -> None:
    runner = VirtualHeadsRunner(see_through(nn.Identity), Passes(heads=2, split=split, drop=0.5, channel_drop=0.5))
    ones = torch.ones(IMAGES, CHANNELS, 1, 1)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = runner(ones, generator()).logits
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(4)
    assert runner(ones, generator()).logits.equal(first)
    assert not runner(ones, generator(1)).logits.equal(first)


@pytest.mark.parametrize("shape", [(50, 8), (50, 8, 3, 3)])
@pytest.mark.parametrize("rate", [0.25, 0.5, 0.9])
def test_drop_channels_zeroes_whole_channels_and_scales_the_rest(shape: tuple[int, ...], rate: float) -> None:
    features = torch.rand(shape, generator=generator(2)) + 1.0
    before = torch.get_rng_state()
    dropped = drop_channels(features, rate, generator())
    ratio = (dropped / features).flatten(2) if len(shape) > 2 else (dropped / features)[:, :, None]
    assert ratio.std(-1, correction=0).max() < 1e-5
    kept = ratio[:, :, 0] > 0.0
    torch.testing.assert_close(ratio[kept], torch.full_like(ratio[kept], 1 / (1 - rate)))
    assert kept.float().mean().item() == pytest.approx(1 - rate, abs=0.07)
    # Each image has a mask of its own.
    assert len(kept.unique(dim=0)) > 10
    assert torch.get_rng_state().equal(before)
    assert dropped.equal(drop_channels(features, rate, generator()))
    assert not dropped.equal(drop_channels(features, rate, generator(1)))


def test_drop_channels_keeps_the_mean_and_the_type() -> None:
    features = torch.ones(2000, 8, dtype=torch.bfloat16)
    dropped = drop_channels(features, 0.2, generator())
    assert dropped.dtype == torch.bfloat16
    # 16,000 draws of deviation ½: the mean is settled to four thousandths.
    assert dropped.float().mean().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.7])
def test_in_bfloat16_what_stays_is_scaled_by_the_rate_and_not_by_its_rounding(rate: float) -> None:
    features = (torch.rand(2000, 8, 2, 2, generator=generator()) + 0.5).bfloat16().requires_grad_()
    dropped = drop_channels(features, rate, generator())
    kept = dropped != 0
    assert dropped.dtype == torch.bfloat16
    # Each product is rounded to the nearest, up or down: in the mean over thousands nothing of that is left.
    scale = (dropped[kept].double() / features[kept].double()).mean().item()
    assert scale == pytest.approx(1 / (1 - rate), rel=2e-4)
    (slope,) = torch.autograd.grad(dropped, features, features.detach())
    assert (slope[kept].double() / features[kept].double()).mean().item() == pytest.approx(1 / (1 - rate), rel=2e-4)


def test_drop_channels_passes_gradients_through_what_it_kept() -> None:
    features = torch.rand(5, 8, 2, 2, generator=generator(2)).requires_grad_()
    dropped = drop_channels(features, 0.5, generator())
    dropped.sum().backward()
    torch.testing.assert_close(features.grad, torch.where(dropped > 0.0, 2.0, 0.0))


def test_drop_channels_at_rate_zero_draws_nothing() -> None:
    source, features = generator(), images()
    before = source.get_state()
    assert drop_channels(features, 0.0, source) is features
    assert source.get_state().equal(before)


# --- virtual heads ---------------------------------------------------------------------------------------------------


def norms(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {name: part for name, part in network.named_modules() if isinstance(part, nn.BatchNorm2d)}


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("split", SPLITS)
def test_one_step_updates_the_running_statistics_once(split: str, heads: int) -> None:
    network = small_network()
    VirtualHeadsRunner(network, Passes(heads=heads, split=split, drop=0.5, channel_drop=0.5))(images(), generator())
    found = norms(network)
    assert len(found) == 9
    assert {int(norm.num_batches_tracked or 0) for norm in found.values()} == {1}


def test_heads_are_normalised_together() -> None:
    network = small_network()
    activations = VirtualHeadsRunner(network, Passes(heads=2, split="stage2", channel_drop=0.5))(images(), generator())
    # stage1 is run once; the shortcut of stage2 is a 1×1 convolution and a norm that see both heads' rows at once.
    dropped = drop_channels(activations.stages["stage1"].repeat(2, 1, 1, 1), 0.5, generator())
    beside = network.get_submodule("stages.stage2.downsample.0")(dropped)
    norm = norms(network)["stages.stage2.downsample.1"]
    torch.testing.assert_close(norm.running_mean, 0.1 * beside.mean((0, 2, 3)))


@pytest.mark.parametrize("split", SPLITS)
def test_one_head_without_dropout_is_the_network_itself(split: str) -> None:
    network = small_network()
    twin = copy.deepcopy(network)
    activations = VirtualHeadsRunner(network, Passes(split=split))(images(), generator())
    assert activations.logits.shape == (1, 4, CLASSES)
    assert activations.logits[0].equal(twin(images()))
    torch.testing.assert_close(network.state_dict(), twin.state_dict(), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("split", SPLITS)
def test_heads_of_one_view_are_equal_without_dropout(split: str) -> None:
    network = small_network()
    twin = copy.deepcopy(network)
    logits = VirtualHeadsRunner(network, Passes(heads=3, split=split))(images(), generator()).logits
    expected = twin(images())
    # Repeating all rows leaves the batch's mean and variance as they are.
    for head in logits:
        torch.testing.assert_close(head, expected, rtol=1e-4, atol=1e-5)


def test_independent_views_run_as_one_batch_and_come_back_head_by_head() -> None:
    network = small_network()
    twin = copy.deepcopy(network)
    views = images(8)
    activations = VirtualHeadsRunner(network, Passes(heads=2, split="input", views="independent"))(views, generator())
    assert activations.logits.shape == (2, 4, CLASSES)
    assert activations.logits.flatten(0, 1).equal(twin(views))
    assert all(len(features) == 8 for features in activations.stages.values())


def test_independent_views_are_dropped_out_independently() -> None:
    network = see_through(nn.Identity)
    passes = Passes(heads=2, split="input", views="independent", channel_drop=0.5)
    logits = VirtualHeadsRunner(network, passes)(torch.ones(2 * IMAGES, CHANNELS, 1, 1), generator()).logits
    alive = logits.ne(0.0)
    # Each of two heads' two masks of rate ½ is its own: ¼ alive in one, 1/16 in both.
    assert (alive[0] & alive[1]).float().mean().item() == pytest.approx(1 / 16, abs=0.05)
    assert alive.float().mean().item() == pytest.approx(1 / 4, abs=0.08)


@pytest.mark.parametrize(
    ("split", "once"),
    [
        ("input", ()),
        ("stage1", ()),
        ("stage2", ("stage1",)),
        ("stage3", ("stage1", "stage2")),
        ("classifier", ("stage1", "stage2", "stage3")),
    ],
)
@pytest.mark.parametrize("heads", [2, 3])
def test_stages_above_the_split_run_once(split: str, once: tuple[str, ...], heads: int) -> None:
    activations = VirtualHeadsRunner(small_network(), Passes(heads=heads, split=split, drop=0.5))(images(), generator())
    assert tuple(activations.stages) == NETWORK.stages
    rows = {name: len(features) for name, features in activations.stages.items()}
    assert rows == {name: 4 if name in once else heads * 4 for name in NETWORK.stages}
    assert activations.logits.shape == (heads, 4, CLASSES)


def test_virtual_heads_need_no_module_beside_the_network() -> None:
    assert not list(VirtualHeadsRunner(small_network(), Passes(heads=4)).extra.parameters())


# --- Song and Chai's branches ----------------------------------------------------------------------------------------


def branches(**keys: Any) -> Branches:
    def refuse(*asked: object) -> Composition:
        raise KeyError(asked)

    passes = (
        KINDS["multi_head"]
        .model_validate({"drop": 0, "channel_drop": 0, **keys})
        .compose(NETWORK.stages_of(8, 128), refuse)
        .passes
    )
    assert isinstance(passes, Branches)
    return passes


def branched(passes: Branches) -> BranchedHeadsRunner:
    spares = [small_network(seed) for seed in range(10, 10 + passes.heads - 1)]
    return BranchedHeadsRunner(small_network(), passes, spares)


HIERARCHICAL = branches(pattern="hierarchical", heads=4)
SIMPLE = branches(pattern="simple", heads=3)
EARLY = branches(pattern="simple", heads=3, splits=["stage2"])
INSTANCES = branches(pattern="instances", heads=3)
PATTERNS = {"hierarchical": HIERARCHICAL, "simple": SIMPLE, "early": EARLY, "instances": INSTANCES}


def part(network: StagedNetwork, place: str) -> nn.Module:
    parts: dict[str, nn.Module] = {"input": network.stem, "classifier": network.classifier}
    return parts[place] if place in parts else network.stages[place]


def parts(heads: BranchedHeadsRunner, place: str) -> list[nn.Module]:
    """The modules that stand side by side at a place, head 0's first."""
    beside = heads.extra[place]
    assert isinstance(beside, nn.ModuleList)
    return [part(heads.network, place), *beside]


def loss_of(logits: Tensor) -> Tensor:
    """A sum over the heads that pulls each of them elsewhere."""
    aims = torch.randn(logits.shape, generator=generator(5))
    return (logits - aims).square().sum()


def gradients(heads: BranchedHeadsRunner) -> dict[str, Tensor]:
    """Gradients by the parameter's name, which are then dropped."""
    named = [*heads.network.named_parameters(), *heads.extra.named_parameters(prefix="extra")]
    found = {}
    for name, parameter in named:
        found[name] = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = None
    return found


def by_hand(heads: BranchedHeadsRunner, fan_outs: Mapping[str, int]) -> dict[str, Tensor]:
    """Gradients where the graph is cut at each split and what comes back is divided by `fan_outs` at that place."""
    trunks: list[tuple[Tensor, Tensor, int]] = []
    paths = [images()]
    for place in PLACES:
        modules = parts(heads, place)
        if len(modules) > len(paths):
            each = len(modules) // len(paths)
            cut = []
            for trunk in paths:
                leaf = trunk.detach().requires_grad_()
                if trunk.requires_grad:
                    trunks.append((trunk, leaf, fan_outs.get(place, 1)))
                cut += [leaf] * each
            paths = cut
        if place == "classifier":
            paths = [pool(path) for path in paths]
        paths = [module(path) for module, path in zip(modules, paths, strict=True)]
    loss_of(torch.stack(paths)).backward()
    for trunk, leaf, fan_out in reversed(trunks):
        assert leaf.grad is not None
        trunk.backward(leaf.grad / fan_out)
    return gradients(heads)


@pytest.mark.parametrize(
    ("passes", "fan_outs"),
    [
        (HIERARCHICAL, {"stage2": 2, "stage3": 2}),
        (SIMPLE, {"stage3": 3}),
        (EARLY, {"stage2": 3}),
        (branches(pattern="hierarchical", heads=2), {"stage3": 2}),
        (branches(pattern="hierarchical", heads=4, splits=["stage1", "stage3"]), {"stage1": 2, "stage3": 2}),
        (INSTANCES, {}),
    ],
)
def test_gradients_are_divided_by_the_fan_out_of_each_split(passes: Branches, fan_outs: dict[str, int]) -> None:
    heads = branched(passes)
    loss_of(heads(images(), generator()).logits).backward()
    found = gradients(heads)
    assert all(value.ne(0.0).any() for value in found.values())
    torch.testing.assert_close(found, by_hand(heads, fan_outs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("passes", "shares"),
    [
        # A binary tree divides by two at each of its two splits, not by four at the last.
        (HIERARCHICAL, {"stem": 1 / 4, "stages.stage1": 1 / 4, "stages.stage2": 1 / 2, "stages.stage3": 1.0}),
        (SIMPLE, {"stem": 1 / 3, "stages.stage1": 1 / 3, "stages.stage2": 1 / 3, "stages.stage3": 1.0}),
        (EARLY, {"stem": 1 / 3, "stages.stage1": 1 / 3, "stages.stage2": 1.0, "stages.stage3": 1.0}),
        (INSTANCES, {"stem": 1.0, "stages.stage1": 1.0, "stages.stage2": 1.0, "stages.stage3": 1.0}),
    ],
)
def test_share_of_the_plain_gradient_that_reaches_each_part(passes: Branches, shares: dict[str, float]) -> None:
    heads = branched(passes)
    loss_of(heads(images(), generator()).logits).backward()
    found = gradients(heads)
    # Where nothing is divided, the graph without cuts would give this.
    plain = by_hand(heads, {})
    for name, value in found.items():
        share = next((s for prefix, s in shares.items() if name.startswith(prefix + ".")), 1.0)
        # Copies are divided as the network's own part at their place is.
        if name.startswith("extra."):
            share = shares.get(f"stages.{name.split('.')[1]}", 1.0)
        torch.testing.assert_close(value, share * plain[name], rtol=1e-4, atol=1e-5)


def test_rescaling_leaves_the_forward_pass_alone() -> None:
    heads = branched(HIERARCHICAL)
    stem = heads.network.stages["stage1"](heads.network.stem(images()))
    logits = heads(images(), generator()).logits
    expected = []
    # Head h takes branch h // 2 at the first split and branch h at the second.
    for head in range(4):
        features = parts(heads, "stage3")[head](parts(heads, "stage2")[head // 2](stem))
        expected.append(parts(heads, "classifier")[head](pool(features)))
    torch.testing.assert_close(logits, torch.stack(expected))


@pytest.mark.parametrize(
    ("name", "copies"),
    [
        ("hierarchical", (0, 0, 1, 3, 3)),
        ("simple", (0, 0, 0, 2, 2)),
        ("early", (0, 0, 2, 2, 2)),
        ("instances", (2, 2, 2, 2, 2)),
    ],
)
def test_only_what_the_branches_need_is_copied(name: str, copies: tuple[int, ...]) -> None:
    heads = branched(PATTERNS[name])
    assert [len(parts(heads, place)) - 1 for place in PLACES] == list(copies)
    every = [id(p) for p in (*heads.network.parameters(), *heads.extra.parameters())]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("name", PATTERNS)
def test_head_zero_is_the_network_itself(name: str) -> None:
    heads = branched(PATTERNS[name])
    twin = copy.deepcopy(heads.network)
    activations = heads(images(), generator())
    assert activations.logits.shape == (PATTERNS[name].heads, 4, CLASSES)
    assert activations.logits[0].equal(twin(images()))
    # The running statistics of its path are those of one plain pass: no other branch touches its modules.
    torch.testing.assert_close(heads.network.state_dict(), twin.state_dict(), rtol=0.0, atol=0.0)
    # The others differ: they have weights of their own.
    for head in activations.logits[1:]:
        assert (head - activations.logits[0]).abs().max() > 1e-3


def test_instances_share_nothing() -> None:
    heads = branched(INSTANCES)
    logits = heads(images(), generator()).logits
    logits[0].square().sum().backward()
    found = gradients(heads)
    assert all(value.eq(0.0).all() for name, value in found.items() if name.startswith("extra."))
    plain = copy.deepcopy(heads.network)
    plain(images()).square().sum().backward()
    torch.testing.assert_close(
        {name: value for name, value in found.items() if not name.startswith("extra.")},
        {name: p.grad for name, p in plain.named_parameters()},
    )


@pytest.mark.parametrize("name", PATTERNS)
def test_inference_keeps_exactly_the_baselines_parameters(name: str) -> None:
    composition = Composition(passes=PATTERNS[name])
    method = build_method(composition, NETWORK, 10, 1, CLASSES)
    baseline = build_method(Composition(), NETWORK, 10, 1, CLASSES)
    shapes = [{n: v.shape for n, v in m.network.state_dict().items()} for m in (method, baseline)]
    assert shapes[0] == shapes[1]
    assert not list(baseline.extra.parameters())
    # What training needs beside them is trained too.
    trained = {id(p) for p in method.parameters()}
    assert trained == {id(p) for p in (*method.network.parameters(), *method.extra.parameters())}


@pytest.mark.parametrize(
    ("name", "rows"),
    [("hierarchical", (4, 8, 16)), ("simple", (4, 4, 12)), ("early", (4, 12, 12)), ("instances", (12, 12, 12))],
)
def test_stages_hold_a_block_of_rows_for_each_branch(name: str, rows: tuple[int, ...]) -> None:
    activations = branched(PATTERNS[name])(images(), generator())
    assert tuple(len(features) for features in activations.stages.values()) == rows


@pytest.mark.parametrize(("drop", "channel_drop"), [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)])
def test_branches_have_dropout_at_the_same_sites_from_the_given_generator(drop: float, channel_drop: float) -> None:
    passes = branches(
        pattern="hierarchical", heads=4, splits=["stage2", "stage3"], drop=drop, channel_drop=channel_drop
    )
    heads = BranchedHeadsRunner(see_through(Fresh), passes, [see_through(Fresh) for _ in range(3)])
    before = torch.get_rng_state()
    logits = heads(torch.ones(IMAGES, CHANNELS, 2, 2), generator()).logits
    assert torch.get_rng_state().equal(before)
    for place, count, rate in (("stage1", 1, 0.0), ("stage2", 2, channel_drop), ("stage3", 4, channel_drop)):
        stages = [stage for stage in parts(heads, place) if isinstance(stage, Fresh)]
        masks = torch.stack([pool(stage.seen) for stage in stages])
        assert len(masks) == count
        check_masks(masks, rate)
    check_masks(logits.detach(), drop)
    assert logits.equal(heads(torch.ones(IMAGES, CHANNELS, 2, 2), generator()).logits)


def check_masks(masks: Tensor, rate: float) -> None:
    """One mask per branch, at `rate`, and no two alike."""
    if rate == 0.0:
        assert masks.eq(1.0).all()
        return
    assert masks.eq(0.0).float().mean().item() == pytest.approx(rate, abs=0.1)
    assert set(masks.unique().tolist()) == {0.0, 1 / (1 - rate)}
    assert len(masks.unique(dim=0)) == len(masks)

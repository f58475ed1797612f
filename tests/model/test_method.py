"""Every method at work: a training step of each kind and variant, its controls, weights, ramps and memories."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from torch import Tensor

from collabpipe.catalogue.stages import LAYOUTS
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.validation import Strict, Wrong
from collabpipe.methods.composition import (
    Composition,
    Label,
    Passes,
    Term,
)
from collabpipe.methods.intermediate import IntermediateTerm
from collabpipe.methods.kernel import KernelTerm
from collabpipe.methods.output import AgreementTerm
from collabpipe.methods.registry import KINDS, TERMS
from collabpipe.methods.representation import RepresentationTerm
from collabpipe.methods.resolve import compose, read_methods
from collabpipe.model.heads import Activations
from collabpipe.model.method import Generators, Method, build_method, mix, ramp
from collabpipe.model.networks import initialise
from collabpipe.model.terms.base import Step
from collabpipe.model.terms.intermediate import output_consistency, partition_consistency
from collabpipe.model.terms.kernel import KERNELS
from collabpipe.model.terms.label import cross_entropy, label_loss, soft_targets
from collabpipe.model.terms.output import jensen_shannon
from collabpipe.model.terms.representation import REPRESENTATIONS, spatial_decorrelation
from collabpipe.settings.study import Settings, check_settings
from collabpipe.settings.training import NetworkSettings, TrainingSettings
from collabpipe.training.optimiser import Sgd

# Networks this small are slower on two threads than on one, by far where cores are shared.
torch.set_num_threads(1)

NETWORK = NetworkSettings(kind="resnet8", width=4)
CLASSES = 3
BATCH = 6
SET_SIZE = 20


def choices(model: type[Strict]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The keys of a model that take one of several words, such as its variants."""
    for name, field in model.model_fields.items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) > 1:
            yield name, get_args(field.annotation)


METHODS: dict[str, dict[str, Any]] = {
    **{kind: {} for kind in KINDS},
    **{
        f"{kind}_{word}": {"kind": kind, key: word}
        for kind, model in KINDS.items()
        for key, words in choices(model)
        for word in words
        if key != "views"
    },
    # What the defaults do not show, and keys that go together.
    "one_pass": {"smoothing": 0.2},
    "output_input": {"kind": "output", "split": "input"},
    "output_stage2": {"kind": "output", "split": "stage2", "heads": 3},
    "output_stage3": {"kind": "output", "split": "stage3", "weight": 2.0, "ramp": 0.0},
    "output_independent": {"kind": "output", "split": "input", "views": "independent"},
    "output_song_chai": {"kind": "output", "agreement": "song_chai", "weight": 2.0, "balance": 0.4},
    "output_song_chai_squared": {"kind": "output", "agreement": "song_chai", "temperature_squared": True},
    "intermediate_late": {
        "kind": "intermediate",
        "variant": "virtual",
        "heads": 3,
        "split": "stage3",
        "channel_drop": 0.2,
    },
    "intermediate_independent": {
        "kind": "intermediate",
        "variant": "virtual",
        "heads": 2,
        "split": "input",
        "views": "independent",
        "ramp": 0.5,
    },
    "intermediate_partition": {"kind": "intermediate", "variant": "partition", "weight": 1000.0},
    "intermediate_to_output_heads": {
        "kind": "intermediate",
        "variant": "to_output",
        "heads": 2,
        "drop": 0.5,
        "split": "stage3",
        "taps": ["stage2", "stage3"],
    },
    "tapped": {"kind": "intermediate", "variant": "to_output", "taps": ["stage2", "stage3"]},
    "representation_per_sample": {"kind": "representation", "variant": "per_sample", "taps": ["stage2"]},
    "combined": {"of": ["output_stage2", "intermediate_virtual", "representation", "kernel"], "factor": 1.0},
    "combined_kernel": {"kind": "combined", "of": "output+kernel", "weights": {"kernel": 7.0}, "factor": 1.0},
    "combined_kernels": {"kind": "combined", "of": "kernel+kernel_one_sided"},
    "combined_song_chai": {"kind": "combined", "of": "output_song_chai+representation"},
    "multi_head_simple": {"kind": "multi_head", "pattern": "simple", "heads": 3, "balance": 0.3},
    "multi_head_instances": {
        "kind": "multi_head",
        "pattern": "instances",
        "heads": 2,
        "temperature_squared": True,
        "drop": 0.5,
        "channel_drop": 0.1,
    },
    "multi_head_without_dropout": {"kind": "multi_head", "drop": 0.0, "channel_drop": 0.0},
    "gjs_late": {"kind": "gjs", "split": "stage3", "heads": 3, "pi": 0.3},
}
CONTROLS = {f"{name}_control": {"control_of": name} for name in METHODS}


def study(methods: Mapping[str, Any]) -> Settings:
    """The settings of a study of `methods`."""
    values = {
        "study": "methods",
        "datasets": {"digits": {"validation_size": 50, "crop": 1}},
        "noise": ["none"],
        "networks": {"resnet8": {"width": 4}},
        "methods": methods,
        "seeds": [0],
        "training": {"epochs": 2},
    }
    return check_settings(values, {})


STUDY = study(METHODS | CONTROLS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def both(dropout: int = 1, method: int = 2) -> Generators:
    return Generators(generator(dropout), generator(method))


def composed(name: str) -> Composition:
    return compose(STUDY.methods, name, NETWORK.stages_of(8, 128))


def asked(**keys: Any) -> Composition:
    """A further method, beside those of the study that it may name."""
    return compose(study(METHODS | {"asked": keys}).methods, "asked", NETWORK.stages_of(8, 128))


def at_work(composition: Composition, bfloat16: bool = False) -> Method:
    method = build_method(composition, NETWORK, SET_SIZE, 1, CLASSES, bfloat16)
    initialise(method, generator(3))
    return method.train()


def images(views: int = 1) -> Tensor:
    return torch.randn(views * BATCH, 1, 8, 8, generator=generator(9))


LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
INDEX = torch.tensor([4, 0, 19, 7, 3, 12])


def step(method: Method, progress: float = 1.0, generators: Generators | None = None) -> Tensor:
    values: Tensor = method(images(method.views), LABELS, INDEX, progress, generators or both())
    return values


def named(method: Method, progress: float = 1.0) -> dict[str, float]:
    return dict(zip(method.term_names, step(method, progress).tolist(), strict=True))


# --- all of them -----------------------------------------------------------------------------------------------------


def test_every_term_and_every_variant_of_every_part_is_tried() -> None:
    compositions = [composed(name) for name in METHODS]
    terms = [term for composition in compositions for term in composition.terms]
    assert {type(term) for term in terms} == set(TERMS.values())
    parts = [*terms, *(c.passes for c in compositions), *(c.label for c in compositions)]
    for model in {type(part) for part in parts}:
        for key, words in choices(model):
            assert {getattr(part, key) for part in parts if type(part) is model} == set(words), (model, key)


@pytest.mark.parametrize("name", [*METHODS, *CONTROLS])
def test_two_steps_have_finite_losses_and_move_every_parameter(name: str) -> None:
    method = at_work(composed(name))
    optimiser = Sgd(method.parameters(), TrainingSettings(epochs=1, weight_decay=0.0))
    before = {key: parameter.detach().clone() for key, parameter in method.named_parameters()}
    # The second step finds what a method remembers of the first.
    for _ in range(2):
        values = step(method)
        assert values.shape == (len(method.term_names),)
        assert values.isfinite().all()
        values[0].backward()
        for key, parameter in method.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.ne(0.0).any(), key
        optimiser.step(0.01)
    for key, parameter in method.named_parameters():
        assert parameter.isfinite().all()
        assert not parameter.equal(before[key]), key


@pytest.mark.parametrize("network", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_method_trains_every_network(network: str, kind: str) -> None:
    settings = NetworkSettings(kind=network, width=4 if network != "vgg16" else 8)
    stages = settings.stages_of(8, 4096)  # a batch that is large enough for the default taps of every kind
    composition = compose(STUDY.methods, kind, stages)
    method = build_method(composition, settings, SET_SIZE, 1, CLASSES)
    initialise(method, generator(3))
    torch.manual_seed(1)
    before = torch.get_rng_state()

    values = step(method.train())
    values[0].backward()

    assert torch.get_rng_state().equal(before)
    assert len(values) == 2 + len(composition.terms)
    assert values.isfinite().all()
    for name, parameter in method.network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("name", METHODS)
def test_terms_add_no_parameters_and_inference_is_the_baselines_network(name: str) -> None:
    method, baseline = at_work(composed(name)), at_work(composed("baseline"))
    assert not list(method.terms.parameters())
    # Within a replicate all methods start from the same weights, what training alone needs being drawn after them.
    torch.testing.assert_close(method.network.state_dict(), baseline.network.state_dict(), rtol=0.0, atol=0.0)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("progress", [0.0, 0.3, 0.6, 1.0])
def test_loss_is_the_scaled_label_and_the_weighted_ramped_terms(name: str, progress: float) -> None:
    composition = composed(name)
    method = at_work(composition)
    step(method)
    values = step(method, progress).double().tolist()
    assert len(values) == 2 + len(composition.terms)
    expected = composition.label.scale * values[1]
    for term, value in zip(composition.terms, values[2:], strict=True):
        share = 1.0 if term.ramp == 0.0 else min(progress / term.ramp, 1.0)
        expected += term.weight * share * value
    assert values[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_step_hangs_on_its_generators_alone(name: str) -> None:
    method, twin = at_work(composed(name)), at_work(composed(name))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = step(method)
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(2)
    assert step(twin).equal(first)


@pytest.mark.parametrize(
    ("name", "draws_masks", "draws_else"),
    [
        ("baseline", False, False),
        ("dropout", True, False),
        ("output", True, False),
        ("intermediate", False, False),
        ("intermediate_virtual", True, False),
        ("intermediate_partition", False, True),
        ("representation", False, False),
        ("kernel", False, False),
        ("multi_head", True, False),
        ("multi_head_without_dropout", False, False),
        ("multi_head_instances", True, False),
        ("temporal", True, False),
        ("elr", False, False),
        ("mixup", False, True),
    ],
)
def test_masks_have_a_generator_of_their_own(name: str, draws_masks: bool, draws_else: bool) -> None:
    generators = both()
    step(at_work(composed(name)), generators=generators)
    assert generators.dropout.get_state().equal(generator(1).get_state()) != draws_masks
    assert generators.method.get_state().equal(generator(2).get_state()) != draws_else


def test_independent_views_ask_for_a_view_a_head() -> None:
    assert at_work(composed("output_independent")).views == 2
    assert at_work(composed("output_input")).views == 1
    assert at_work(composed("multi_head")).views == 1


def test_terms_of_one_name_are_numbered() -> None:
    assert at_work(composed("combined_kernels")).term_names == ("loss", "label", "kernel", "kernel_2")
    assert at_work(composed("baseline")).term_names == ("loss", "label")


@pytest.mark.parametrize(
    ("share", "progress", "expected"),
    [
        (0.0, 0.0, 1.0),
        (0.0, 1.0, 1.0),
        (0.6, 0.0, 0.0),
        (0.6, 0.15, 0.25),
        (0.6, 0.3, 0.5),
        (0.6, 0.6, 1.0),
        (0.6, 0.9, 1.0),
        (1.0, 0.25, 0.25),
    ],
)
def test_ramp_rises_linearly_over_its_share_of_training(share: float, progress: float, expected: float) -> None:
    assert ramp(Term(term="any", weight=5.0, ramp=share), progress) == pytest.approx(expected)


# --- what the short forms ask for ------------------------------------------------------------------------------------


@pytest.mark.parametrize("agreement", ["symmetric_kl", "jensen_shannon", "stop_gradient"])
def test_agreement_ramps_over_the_first_sixty_percent(agreement: str) -> None:
    composition = asked(kind="output", agreement=agreement, weight=4.0)
    (term,) = composition.terms
    assert (term.weight, term.ramp) == (4.0, 0.6)
    assert composition.label == Label()
    assert composition.passes == Passes(heads=2, split="classifier", drop=0.5, channel_drop=0.1)


def test_song_chai_weighs_label_against_agreement_at_two_degrees() -> None:
    composition = asked(kind="output", agreement="song_chai")
    (term,) = composition.terms
    assert isinstance(term, AgreementTerm)
    assert (term.weight, term.ramp, term.temperature, term.temperature_squared) == (0.5, 0.0, 2.0, False)
    assert composition.label.scale == 0.5
    (other,) = composed("output_song_chai").terms
    assert other.weight == pytest.approx(2.0 * (1 - 0.4))
    assert composed("output_song_chai").label.scale == 0.4


@pytest.mark.parametrize(
    ("keys", "passes"),
    [
        ({}, Passes()),
        ({"variant": "virtual"}, Passes(heads=2, split="stage2", drop=0.5, channel_drop=0.1)),
        ({"variant": "virtual", "drop": 0.0}, Passes(heads=2, split="stage2", drop=0.0, channel_drop=0.1)),
        ({"variant": "virtual", "heads": 3}, Passes(heads=3, split="stage2", drop=0.5, channel_drop=0.1)),
        ({"variant": "virtual", "split": "stage3"}, Passes(heads=2, split="stage3", drop=0.5, channel_drop=0.1)),
        (
            {"variant": "virtual", "views": "independent"},
            Passes(heads=2, split="input", views="independent", drop=0.5, channel_drop=0.1),
        ),
        ({"variant": "partition"}, Passes()),
        ({"variant": "to_output", "drop": 0.5}, Passes(drop=0.5)),
    ],
)
def test_intermediate_heeds_each_key_and_defaults_the_others(keys: dict[str, Any], passes: Passes) -> None:
    assert asked(kind="intermediate", **keys).passes == passes


@pytest.mark.parametrize(
    ("name", "taps"),
    [
        # Two heads from stage2 on; stage1 has run once.
        ("intermediate_virtual", ("stage2", "stage3")),
        ("intermediate_late", ("stage3",)),
        # Heads with views of their own differ from the first stage on.
        ("intermediate_independent", ("stage1", "stage2", "stage3")),
        ("intermediate_partition", ("stage1", "stage2", "stage3")),
        ("intermediate_to_output", ("stage3",)),
        ("representation", ("stage1", "stage2", "stage3")),
        ("representation_per_sample", ("stage2",)),
    ],
)
def test_stages_that_a_term_taps(name: str, taps: tuple[str, ...]) -> None:
    (term,) = composed(name).terms
    assert isinstance(term, IntermediateTerm | RepresentationTerm)
    assert term.taps == taps


def outcome(name: str) -> tuple[float, Activations]:
    """The first term's value in the first step, and the activations it was taken from."""
    value = step(at_work(composed(name)))[2].item()
    # An equal twin, as a second run of the same network would move its statistics.
    twin = at_work(composed(name))
    return value, twin.runner(images(twin.views), generator(1))


def test_virtual_consistency_compares_the_heads_stages_before_their_own_masks() -> None:
    value, activations = outcome("intermediate_virtual")
    expected = 0.0
    for name in ("stage2", "stage3"):
        first, second = activations.stages[name].detach().mean((2, 3)).double().split(BATCH)
        for one, other in zip(first, second, strict=True):
            expected += (one / one.norm() - other / other.norm()).square().sum().item() / BATCH / 2
    assert expected > 1e-4
    assert value == pytest.approx(expected, rel=1e-4)


def test_to_output_compares_a_stage_with_the_predictions_of_the_rows_it_has() -> None:
    value, activations = outcome("intermediate_to_output_heads")
    # stage2 has run once and is held against the heads' mean, stage3 once a head and is held against each.
    once, twice = activations.stages["stage2"], activations.stages["stage3"]
    assert (len(once), len(twice)) == (BATCH, 2 * BATCH)
    expected = (
        output_consistency(once, activations.logits.mean(0), 1.0)
        + output_consistency(twice, torch.cat(list(activations.logits)), 1.0)
    ) / 2
    assert value == pytest.approx(expected.item(), rel=1e-5)


def test_to_output_at_a_branch_of_some_heads_follows_the_mean_of_all_heads() -> None:
    # A binary tree: stage2 runs in two branches of two heads each, stage3 once per head.
    method = asked(kind="combined", of="multi_head+tapped")
    activations = at_work(method).runner(images(), generator(1))
    branches, heads = activations.stages["stage2"], activations.stages["stage3"]
    assert (len(branches), len(heads), len(activations.logits)) == (2 * BATCH, 4 * BATCH, 4)
    expected = (
        output_consistency(branches, activations.logits.mean(0).repeat(2, 1), 1.0)
        + output_consistency(heads, activations.logits.flatten(0, 1), 1.0)
    ) / 2
    assert step(at_work(method))[3].item() == pytest.approx(expected.item(), rel=1e-5)


def test_partition_draws_a_permutation_for_each_tap() -> None:
    value, activations = outcome("intermediate_partition")
    source = generator(2)
    taps = [
        partition_consistency(features, torch.randperm(features.shape[1], generator=source))
        for features in activations.stages.values()
    ]
    assert value == pytest.approx(sum(t.item() for t in taps) / 3, rel=1e-5)


def test_representation_is_a_mean_over_the_stages() -> None:
    value, activations = outcome("representation")
    taps = [spatial_decorrelation(features).item() for features in activations.stages.values()]
    assert value == pytest.approx(sum(taps) / 3, rel=1e-5)


@pytest.mark.parametrize("name", ["kernel", "kernel_one_sided", "kernel_self_convolution"])
def test_kernel_is_a_mean_over_all_convolutions_with_their_strides(name: str) -> None:
    method = at_work(composed(name))
    value = step(method)[2].item()
    # The stem, two convolutions a block, and a shortcut in the two blocks that change the shape, with stride 2.
    strides = {"stem.0": 1}
    for stage, stride in (("stage1", 1), ("stage2", 2), ("stage3", 2)):
        strides |= {f"stages.{stage}.conv1": stride, f"stages.{stage}.conv2": 1}
        if stride == 2:
            strides[f"stages.{stage}.downsample.0"] = 2
    weights = dict(method.network.named_parameters())
    (term,) = composed(name).terms
    assert isinstance(term, KernelTerm)
    loss = KERNELS[term.variant]
    values = [loss(weights[f"{layer}.weight"], stride).item() for layer, stride in strides.items()]
    assert len(values) == 9
    assert value == pytest.approx(sum(values) / 9, rel=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_losses_are_computed_in_float32_also_in_mixed_precision(name: str) -> None:
    # Matrix products under autocast keep three digits: too few for cosines near 0 or 1 under weights of thousands.
    composition = composed(name)
    method, twin = at_work(composition, bfloat16=True), at_work(composition, bfloat16=True)
    values = step(method)
    assert values.dtype == torch.float32
    if composition.label.mixup == 0.0:
        targets = soft_targets(LABELS, CLASSES, composition.label.smoothing)
        with torch.autocast("cpu", torch.bfloat16):
            activations = twin.runner(images(twin.views), generator(1))
        given = Step(activations, INDEX, generator(2))
        expected = [label_loss(composition.label, activations.logits, targets), *(term(given) for term in twin.terms)]
        torch.testing.assert_close(values[1:], torch.stack(expected), rtol=1e-5, atol=1e-7)
    # The network itself did run in mixed precision.
    assert not values[1].equal(step(at_work(composition))[1])


# --- matched controls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_control_has_the_same_passes_and_label_scale_and_no_terms(name: str) -> None:
    method, control = composed(name), composed(f"{name}_control")
    assert control.passes == method.passes
    assert control.terms == ()
    assert control.label.scale == method.label.scale
    assert control.label.smoothing == method.label.smoothing
    assert control.label.mixup == 0.0
    assert control.label.loss == ("js" if method.label.loss in ("js", "gjs") else "cross_entropy")


@pytest.mark.parametrize(
    "name", [name for name in METHODS if composed(name).label.loss == "cross_entropy" and name != "mixup"]
)
def test_control_sees_the_methods_own_masks_and_label_loss(name: str) -> None:
    method, control = at_work(composed(name)), at_work(composed(f"{name}_control"))
    label = step(method)[1]
    values = step(control)
    assert values.shape == (2,)
    assert values[1].equal(label)
    torch.testing.assert_close(values[0], composed(name).label.scale * label)


@pytest.mark.parametrize("name", ["gjs", "gjs_late"])
def test_control_of_gjs_is_js_with_the_same_heads(name: str) -> None:
    js = asked(**METHODS[name] | {"kind": "js"})
    assert composed(f"{name}_control") == js
    method, control = at_work(composed(name)), at_work(js)
    logits = at_work(js).runner(images(), generator(1)).logits
    pi = composed(name).label.pi
    agreement = jensen_shannon(logits).item()
    assert agreement > 1e-4
    difference = step(method)[0].item() - step(control)[0].item()
    # What gjs has more: (1 - pi)/Z times the divergence of the heads, Z = -(1 - pi) log(1 - pi).
    assert difference == pytest.approx(agreement / -math.log(1 - pi), rel=1e-3)


# --- combinations ----------------------------------------------------------------------------------------------------


def test_combined_takes_the_passes_of_output_and_the_terms_of_all() -> None:
    composition = composed("combined")
    assert composition.passes == composed("output_stage2").passes
    members = ("output_stage2", "intermediate_virtual", "representation", "kernel")
    assert composition.terms == tuple(term for name in members for term in composed(name).terms)


@pytest.mark.parametrize("of", ["kernel+output_stage2", "output_stage2+kernel", "representation+kernel+output_stage2"])
def test_combined_runs_the_heads_of_output_wherever_it_is_named(of: str) -> None:
    composition = asked(kind="combined", of=of)
    assert composition.passes == composed("output_stage2").passes
    assert [term.term for term in composition.terms] == [
        "agreement" if name == "output_stage2" else name for name in of.split("+")
    ]


def test_combined_weights_replace_those_of_the_named_members_alone() -> None:
    composition = asked(
        kind="combined", of="output+kernel+representation", weights={"kernel": 7.0, "output": 0.25}, factor=1.0
    )
    assert [term.weight for term in composition.terms] == [0.25, 7.0, composed("representation").terms[0].weight]
    # The rest of the members' terms is theirs.
    assert [t.model_copy(update={"weight": 0.0}) for t in composition.terms] == [
        composed(name).terms[0].model_copy(update={"weight": 0.0}) for name in ("output", "kernel", "representation")
    ]


def test_combined_keeps_the_label_scale_of_song_chai() -> None:
    assert composed("combined_song_chai").label == composed("output_song_chai").label


def test_combined_splits_where_its_earliest_member_splits() -> None:
    # Else the intermediate layers of a late split would have run once and have nothing to agree with.
    composition = asked(kind="combined", of="output_stage3+intermediate_virtual")
    assert composition.passes == composed("output_stage3").passes.model_copy(update={"split": "stage2"})
    (_, term) = composition.terms
    assert isinstance(term, IntermediateTerm)
    assert term.taps == ("stage2", "stage3")


def test_combined_of_all_four_works_out_of_the_box() -> None:
    composition = asked(kind="combined")
    assert [term.term for term in composition.terms] == ["agreement", "intermediate", "representation", "kernel"]
    assert composition.passes == composed("output").passes


@pytest.mark.parametrize(
    "of", ["gce+kernel", "kernel+gce", "label_smoothing+kernel", "mixup+output", "output+gjs_late"]
)
def test_combined_keeps_the_label_loss_of_the_one_member_that_has_one(of: str) -> None:
    (special,) = (label for name in of.split("+") if (label := composed(name).label) != Label())
    assert asked(kind="combined", of=of).label == special


@pytest.mark.parametrize("of", ["multi_head+kernel", "representation+multi_head"])
def test_combined_adds_terms_of_one_pass_to_song_and_chais_heads(of: str) -> None:
    composition = asked(kind="combined", of=of)
    assert composition.passes == composed("multi_head").passes
    assert composition.label == composed("multi_head").label
    assert step(at_work(composition)).isfinite().all()


def test_combined_refuses_two_losses_of_the_label() -> None:
    with pytest.raises(CollabpipeError, match="gce\\+label_smoothing"):
        asked(kind="combined", of="gce+label_smoothing")


@pytest.mark.parametrize("name", ["output", "output_song_chai", "intermediate", "representation", "kernel", "temporal"])
def test_combined_weight_is_what_the_member_itself_would_do_with_it(name: str) -> None:
    other = "kernel_one_sided"
    composition = asked(kind="combined", of=f"{name}+{other}", weights={name: 3.5}, factor=1.0)
    alone = asked(**{"kind": name} | METHODS[name] | {"weight": 3.5})
    assert composition.terms == alone.terms + composed(other).terms


def test_combined_loss_is_the_sum_of_its_members_terms() -> None:
    values = named(at_work(composed("combined_kernel")))
    output, kernel = named(at_work(composed("output"))), named(at_work(composed("kernel")))
    assert values["label"] == output["label"]
    assert values["agreement"] == output["agreement"]
    assert values["kernel"] == kernel["kernel"]
    assert values["loss"] == pytest.approx(values["label"] + 3.0 * values["agreement"] + 7.0 * values["kernel"])


# --- Song and Chai's heads -------------------------------------------------------------------------------------------


def softmax(values: list[float], temperature: float = 1.0) -> list[float]:
    top = max(values)
    powers = [math.exp((v - top) / temperature) for v in values]
    return [p / sum(powers) for p in powers]


@pytest.mark.parametrize(
    ("name", "heads", "balance", "factor"),
    [
        ("multi_head", 4, 0.5, 1.0),
        ("multi_head_simple", 3, 0.3, 1.0),
        # T² is named by this variant alone.
        ("multi_head_instances", 2, 0.5, 4.0),
    ],
)
def test_multi_head_is_a_sum_over_heads_of_label_and_peers(
    name: str, heads: int, balance: float, factor: float
) -> None:
    twin = at_work(composed(name))
    logits = twin.runner(images(), generator(1)).logits.tolist()
    assert len(logits) == heads
    total = 0.0
    for head in range(heads):
        for image in range(BATCH):
            own = logits[head][image]
            others = [sum(logits[h][image][k] for h in range(heads) if h != head) / (heads - 1) for k in range(CLASSES)]
            hard = -math.log(softmax(own)[LABELS[image]])
            soft = -sum(t * math.log(p) for t, p in zip(softmax(others, 2.0), softmax(own, 2.0), strict=True))
            total += (balance * hard + (1 - balance) * factor * soft) / BATCH
    assert step(at_work(composed(name)))[0].item() == pytest.approx(total, rel=1e-5)


def test_multi_head_copies_are_drawn_apart() -> None:
    method = at_work(composed("multi_head_instances"))
    network, copies = dict(method.network.named_parameters()), dict(method.extra.named_parameters())
    assert not copies["stage1.0.conv1.weight"].equal(network["stages.stage1.conv1.weight"])


@pytest.mark.parametrize("name", ["temporal", "elr"])
def test_memories_are_saved_with_the_training_and_not_with_the_network(name: str) -> None:
    method = at_work(composed(name))
    step(method)
    saved = method.state_dict()
    assert saved["terms.0.targets"].shape == (SET_SIZE, CLASSES)
    assert saved["terms.0.visits"].nonzero().flatten().tolist() == sorted(INDEX.tolist())
    assert "targets" not in " ".join(method.network.state_dict())


# --- mixup -----------------------------------------------------------------------------------------------------------


def mixed(seed: int, alpha: float = 1.0, count: int = 8) -> tuple[Tensor, Tensor]:
    """A batch whose image and target rows are unit vectors: they show what is mixed in."""
    unit = torch.eye(count)
    return mix(unit[:, :, None, None], unit, alpha, generator(seed))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_mixup_mixes_images_and_targets_alike_with_one_share(seed: int, alpha: float) -> None:
    images, targets = mixed(seed, alpha)
    assert images.shape == (8, 8, 1, 1)
    torch.testing.assert_close(images[:, :, 0, 0], targets)
    torch.testing.assert_close(targets.sum(1), torch.ones(8))
    # Each image is mixed into exactly one.
    torch.testing.assert_close(targets.sum(0), torch.ones(8))
    assert targets.min() >= 0.0
    assert targets.max() <= 1.0
    own = targets.diagonal()
    moved = own < 1.0
    assert moved.any()
    torch.testing.assert_close(own[moved], own[moved][:1].expand(int(moved.sum())))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_mixup_draws_its_share_from_beta(alpha: float) -> None:
    # Two images: where they were swapped, the diagonal is the share, else 1.
    rows = [mixed(seed, alpha, 2)[1] for seed in range(1500)]
    shares = torch.tensor([row[0, 0].item() for row in rows if row[0, 1] > 0.0], dtype=torch.float64)
    assert len(shares) > 500
    # Beta(a, a) has mean ½ and variance 1/(4(2a + 1)).
    variance = 1 / (4 * (2 * alpha + 1))
    assert shares.mean().item() == pytest.approx(0.5, abs=4 * math.sqrt(variance / len(shares)))
    assert shares.var().item() == pytest.approx(variance, rel=0.15)


def test_mixup_uses_its_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    images, targets = mixed(3)
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(6)
    torch.testing.assert_close(mixed(3), (images, targets), rtol=0.0, atol=0.0)
    assert not mixed(4)[1].equal(targets)


def test_mixup_trains_on_the_mixed_images_and_targets() -> None:
    value = step(at_work(composed("mixup")))[1]
    blended, targets = mix(images(), soft_targets(LABELS, CLASSES), 1.0, generator(2))
    logits = at_work(composed("baseline")).network(blended)
    torch.testing.assert_close(value, cross_entropy(logits[None], targets))


def test_mixup_of_independent_views_trains() -> None:
    # The step brings a view per head, and one row of targets per image.
    method = at_work(asked(kind="combined", of="mixup+output_independent"))
    assert step(method).isfinite().all()


# --- what cannot work is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize("agreement", ["symmetric_kl", "song_chai"])
def test_heads_that_share_their_only_masks_are_refused(agreement: str) -> None:
    # Channel dropout lies above a split at the classifier: without dropout before it all heads are equal.
    with pytest.raises(CollabpipeError, match="drop"):
        asked(kind="output", agreement=agreement, split="classifier", drop=0.0, channel_drop=0.1)


@pytest.mark.parametrize(
    "keys",
    [
        {"kind": "representation"},
        {"kind": "intermediate", "variant": "partition"},
        {"kind": "intermediate", "variant": "to_output"},
        {"kind": "intermediate", "variant": "virtual"},
    ],
)
def test_a_term_without_a_stage_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(CollabpipeError, match="taps"):
        asked(**keys, taps=[])


@pytest.mark.parametrize(
    "of", ["output+multi_head", "multi_head+output", "gjs+multi_head", "intermediate_virtual+multi_head"]
)
def test_heads_of_one_network_are_not_combined_with_branches(of: str) -> None:
    # Only one of them could be built: the other's loss would be taken over heads, and under masks, not its own.
    with pytest.raises(CollabpipeError, match="multi_head"):
        asked(kind="combined", of=of)


# --- label losses ----------------------------------------------------------------------------------------------------


def label_value(name: str, values: Mapping[str, Any]) -> float:
    """The label loss of one head without dropout, image by image."""
    logits = at_work(composed("baseline")).network(images()).tolist()
    total = 0.0
    for row, label in zip(logits, LABELS.tolist(), strict=True):
        p = softmax(row)
        if name == "gce":
            total += (1 - p[label] ** values["q"]) / values["q"]
        else:
            share = values["smoothing"] / CLASSES
            total -= (1 - values["smoothing"]) * math.log(p[label]) + share * sum(math.log(x) for x in p)
    return total / BATCH


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("baseline", {"smoothing": 0.0}),
        ("label_smoothing", {"smoothing": 0.1}),
        ("gce", {"q": 0.7}),
    ],
)
def test_label_losses_of_one_pass(name: str, values: Mapping[str, float]) -> None:
    assert step(at_work(composed(name)))[1].item() == pytest.approx(label_value(name, values), rel=1e-5)


# --- representation: enough samples for each channel -----------------------------------------------------------------


def taps(variant: str, kind: str, width: int | None, pixels: int, batch: int) -> tuple[str, ...]:
    """The stages that `representation` taps of itself."""
    network = NetworkSettings.model_validate({"kind": kind, "width": width})
    methods = read_methods({"asked": {"kind": "representation", "variant": variant}})
    (term,) = compose(methods, "asked", network.stages_of(pixels, batch)).terms
    assert isinstance(term, RepresentationTerm)
    return term.taps


@pytest.mark.parametrize(
    ("variant", "kind", "width", "pixels", "batch", "expected"),
    [
        # Stage 4 has 2·2·128 = 512 samples for 512 channels, stage 5 has 128; stage 3 has 2,048 for 256.
        ("spatial", "vgg16", None, 32, 128, ["stage1", "stage2", "stage3"]),
        # 4·4·128 = 2,048 samples are just four times 512 channels; with one image less they are not.
        ("spatial", "resnet18", None, 32, 128, ["stage1", "stage2", "stage3", "stage4"]),
        ("spatial", "resnet18", None, 32, 127, ["stage1", "stage2", "stage3"]),
        # 2·2·128 = 512 samples for 256 channels.
        ("spatial", "resnet18", 32, 14, 128, ["stage1", "stage2", "stage3"]),
        ("pooled", "resnet18", 32, 14, 128, ["stage1"]),
        ("pooled", "resnet8", 16, 8, 128, ["stage1", "stage2"]),
        ("per_sample", "vgg16", None, 32, 128, ["stage1", "stage2", "stage3", "stage4", "stage5"]),
    ],
)
def test_stages_whose_correlations_would_be_little_but_chance_are_not_tapped(
    variant: str, kind: str, width: int | None, pixels: int, batch: int, expected: list[str]
) -> None:
    assert taps(variant, kind, width, pixels, batch) == tuple(expected)


def test_where_no_stage_has_enough_samples_the_way_out_is_named_and_works() -> None:
    with pytest.raises(Wrong, match=r"taps: \[\.\.\.\].*batch_size of at least 256") as told:
        taps("pooled", "resnet18", None, 32, 128)

    assert told.value.place == ("methods", "asked", "taps")
    assert taps("pooled", "resnet18", None, 32, 256) == ("stage1",)
    with pytest.raises(Wrong, match="batch_size of at least 256"):
        taps("pooled", "resnet18", None, 32, 255)


@pytest.mark.parametrize(("variant", "samples"), [("spatial", 4 * 4 * 32), ("pooled", 32)])
def test_independent_channels_leave_the_floor_that_the_card_gives(variant: str, samples: int) -> None:
    channels = 24
    values = [
        REPRESENTATIONS[variant](torch.randn(32, channels, 4, 4, generator=generator(seed))).item()
        for seed in range(20)
    ]

    # Means of 20 draws of a sum of 552 squares: 4% is several of their deviations.
    assert sum(values) / len(values) == pytest.approx((channels - 1) / (samples - 1), rel=0.04)


def test_taps_that_are_given_are_taken_as_given() -> None:
    stages = NetworkSettings(kind="vgg16").stages_of(32, 128)
    methods = read_methods({"asked": {"kind": "representation", "taps": ["stage5"]}})

    (term,) = compose(methods, "asked", stages).terms

    assert isinstance(term, RepresentationTerm)
    assert term.taps == ("stage5",)


@pytest.mark.parametrize(
    "way",
    [
        {"kind": "representation"},
        {"kind": "kernel"},
        *({"kind": "intermediate", "variant": v} for v in ("partition", "to_output")),
    ],
)
def test_every_way_trains_at_the_passes_of_two_heads(way: dict[str, Any]) -> None:
    method = at_work(asked(**way, heads=2, split="stage2", drop=0.5, channel_drop=0.1))

    values = step(method)
    values[0].backward()

    assert values.isfinite().all()
    assert values[2] > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.network.parameters())

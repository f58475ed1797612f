"""The configurations that the repository brings: what they promise is what they plan."""

from __future__ import annotations

import shutil
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from collabpipe.methods.baselines import Baseline, Dropout, LabelSmoothing, OnePass
from collabpipe.methods.composition import Branches, Composition, Passes
from collabpipe.methods.derived import Control
from collabpipe.methods.intermediate import Intermediate
from collabpipe.methods.kernel import Kernel
from collabpipe.methods.multi_head import MultiHead
from collabpipe.methods.output import AgreementTerm, Output
from collabpipe.methods.representation import Representation
from collabpipe.methods.resolve import candidate
from collabpipe.methods.search import Searched
from collabpipe.plan.plan import Plan
from tests.workspaces import REPOSITORY, SMALL, Workspace, jobs

CONFIG = REPOSITORY / "config"
FOUR = ("output", "intermediate", "representation", "kernel")


@cache
def preset(name: str) -> Plan:
    return Plan.from_files([CONFIG / f"{name}.yaml"], Path("results"))


def composition(made: Plan, method: str, network: str = "resnet18") -> Composition:
    """What a method asks for; a searched one as its first candidate."""
    return made.compositions[next(iter(made.data)), network, method]


STUDIES = sorted({file.stem for file in CONFIG.glob("*.yaml") if not file.stem.endswith("claims")})


def rates(made: Plan, method: str, key: str) -> tuple[float, float]:
    """The lowest and the highest rate that a method may choose at a site of dropout."""
    one, network = own(made, method), next(iter(made.settings.networks))
    if isinstance(one, Control) and getattr(one, key) is None:
        return rates(made, one.control_of, key)
    kind = made.settings.methods[method]
    names = [f"{method}.candidate{n}" for n in range(len(kind.candidates))] if isinstance(kind, Searched) else [method]
    found = [getattr(composition(made, name, network).passes, key) for name in names]
    return min(found), max(found)


def pairs(made: Plan, method: str) -> set[tuple[float, float]]:
    """The pairs of rates that a method may choose. No dropout at all is none: the baseline has it."""
    kind, network = made.settings.methods[method], next(iter(made.settings.networks))
    names = [f"{method}.candidate{n}" for n in range(len(kind.candidates))] if isinstance(kind, Searched) else [method]
    found = [composition(made, name, network).passes for name in names]
    return {(passes.drop, passes.channel_drop) for passes in found} - {(0.0, 0.0)}


def alone(made: Plan) -> set[str]:
    """The methods of one pass without collaboration."""
    kinds = Baseline | Dropout | OnePass | LabelSmoothing
    return {method for method in made.settings.methods if isinstance(own(made, method), kinds)}


def own(made: Plan, method: str) -> Any:
    """A method as configured; a searched one as its first candidate."""
    return candidate(made.settings.methods[method])


# --- the paper's study -----------------------------------------------------------------------------------------------


def test_the_papers_study_has_its_data_sets_networks_and_ten_replicates() -> None:
    made = preset("paper")

    assert {data.source for data in made.settings.datasets.values()} == {"cifar10", "cifar100", "stl10", "imagenet32"}
    assert {network.kind for network in made.settings.networks.values()} == {"resnet18", "vgg16"}
    assert len(made.settings.seeds) == 10
    assert set(made.settings.noise_of("cifar10")) == {
        "none", "symmetric-0.2", "symmetric-0.5", "symmetric_inclusive-0.5", "symmetric-0.8"
    }  # fmt: skip
    for name in ("cifar100", "stl10", "imagenet32"):
        assert "none" in made.settings.noise_of(name)
    cells = {(r.run.dataset, r.run.noise, r.run.network): 0 for r in made.runs.values()}
    assert len(cells) == (5 + 1 + 1 + 1) * 2
    assert len(made.runs) == len(cells) * len(made.settings.methods) * 10


def test_the_papers_study_holds_its_methods_its_rivals_and_a_combination_of_all_four() -> None:
    made = preset("paper")

    kinds = {own(made, name).kind for name in made.settings.methods if not isinstance(own(made, name), Control)}
    rivals = {"one_pass", "multi_head", "temporal", "gjs", "elr", "gce", "mixup"}
    assert kinds == {"baseline", "dropout", "label_smoothing", *FOUR, "combined", *rivals}
    assert set(own(made, "combined").of) == set(FOUR)


@pytest.mark.parametrize("name", ["paper", "fashion", "evidence"])
def test_what_is_closest_to_the_abstract_is_among_the_candidates(name: str) -> None:
    made = preset(name)

    for method, variant in (("intermediate", "virtual"), ("representation", "spatial"), ("kernel", "rows")):
        assert variant in {one.variant for one in made.settings.searches[method].candidates}  # type: ignore[attr-defined]
    assert composition(made, "output_late").passes.split in ("classifier", "stage4")  # type: ignore[union-attr]
    assert made.study.controls["resnet18/output_late"] == "output_late_control"


@pytest.mark.parametrize("name", ["paper", "variants", "fashion", "evidence-noise", "evidence-variants"])
def test_every_method_that_adds_randomness_or_passes_has_a_control(name: str) -> None:
    made = preset(name)

    for network in made.settings.networks:
        for method in made.settings.methods:
            asked = composition(made, method, network)
            # Without terms and without another loss a method is a control itself.
            if asked == asked.control() or asked.passes == Passes():
                continue
            control = made.study.controls.get(f"{network}/{method}")
            assert control is not None, f"{network}/{method}"
            assert composition(made, control, network) == asked.control(), f"{network}/{method}"


def test_all_searches_of_the_papers_study_have_the_same_budget_and_seeds_of_their_own() -> None:
    made = preset("paper")
    searches = made.settings.searches

    assert {(len(kind.candidates), kind.select.seeds) for kind in searches.values()} == {(6, (100, 101))}
    assert {seed for kind in searches.values() for seed in kind.select.seeds}.isdisjoint(made.settings.seeds)
    for method, kind in searches.items():
        assert len({one.model_dump_json() for one in kind.candidates}) == 6, f"{method}: candidates differ"
    # What has hyper-parameters of its own is searched; the others take what these chose.
    plain = {name for name in made.settings.methods if name not in searches}
    assert all(isinstance(own(made, name), Control) or name == "baseline" for name in plain)


@pytest.mark.parametrize("name", [name for name in STUDIES if preset(name).settings.searches])
def test_no_method_may_choose_a_rate_that_its_controls_and_one_pass_may_not(name: str) -> None:
    made = preset(name)
    searched = list(made.settings.searches)
    controls = [method for method in searched if isinstance(own(made, method), Control)]
    one_pass = [method for method in searched if isinstance(own(made, method), Dropout | OnePass)]
    assert one_pass
    methods = [method for method in made.settings.methods if not isinstance(own(made, method), Control)]
    compared = [(own(made, control).control_of, control) for control in controls]
    compared += [(method, rival) for rival in one_pass for method in methods]

    for key in ("drop", "channel_drop"):
        for method, other in compared:
            # Lower than any rate of one pass is none, which the baseline has.
            assert rates(made, method, key)[1] <= rates(made, other, key)[1], (method, other, key)
    # Nor a lower rate than they have, if it has dropout at all, nor another pair of rates.
    for control in controls:
        assert pairs(made, own(made, control).control_of) <= pairs(made, control), control
    together = set[tuple[float, float]]().union(*(pairs(made, rival) for rival in one_pass))
    for method in methods:
        # The evidence was trained with these, as its comment says.
        apart = {(0.3, 0.0), (0.7, 0.0), (0.0, 0.1)} if (name, method) == ("evidence", "multi_head") else set()
        assert pairs(made, method) - together == apart, method


@pytest.mark.parametrize("name", [name for name in STUDIES if preset(name).settings.searches])
def test_the_baseline_and_one_pass_have_as_many_candidates_as_a_method(name: str) -> None:
    made = preset(name)
    searches = made.settings.searches
    tuned = next(kind for method, kind in searches.items() if isinstance(own(made, method), Baseline))

    assert {(len(kind.candidates), kind.select.seeds) for kind in searches.values()} == {
        (len(tuned.candidates), tuned.select.seeds)
    }
    for key in ("learning_rate", "weight_decay"):
        assert len({getattr(one, key) for one in tuned.candidates}) > 1
    rival = next(kind for method, kind in searches.items() if isinstance(own(made, method), Dropout | OnePass))
    # The small study searches dropout alone.
    for key in ("drop",) if name == "fashion" else ("drop", "channel_drop", "smoothing"):
        assert len({getattr(one, key) for one in rival.candidates}) > 1


@pytest.mark.parametrize("name", ["paper", "fashion", "evidence", "evidence-vgg16"])
def test_whatever_one_pass_can_do_is_a_rival_of_the_study(name: str) -> None:
    made = preset(name)
    claims = made.study.claims
    plain = alone(made)

    assert claims is not None
    assert plain == (claims.rivals | {one.method for one in made.study.rival}) & set(made.settings.methods)
    for cell in made.cells:
        named = {(one.method, one.epoch) for one in made.study.rivals_at("/".join(cell))}
        assert named >= {(method, epoch) for method in plain - {"baseline"} for epoch in ("last", "best")}
        assert ("baseline", "best") in named


@pytest.mark.parametrize(
    "name",
    ["evidence-noise", "evidence-variants", "evidence-noise-carried", "evidence-vgg16-carried", "evidence-decay"],
)
def test_a_descriptive_study_of_the_evidence_names_its_rivals_and_judges_nothing(name: str) -> None:
    made = preset(name)
    plain = alone(made)

    assert made.study.claims is None
    assert {(one.method, one.epoch) for one in made.study.rival} == {(method, "best") for method in plain}
    # Without validation images of its own, a run has no best epoch.
    assert not any(recipe.refit for recipe in made.runs.values())


def test_choices_are_made_wherever_they_are_not_carried_over() -> None:
    made = preset("paper")

    assert {kind.select.carry["symmetric-0.8"] for kind in made.settings.searches.values()} == {"symmetric-0.5"}
    assert Counter(noise for _, noise, _, _ in made.selections) == Counter(
        {
            "none": 4 * 2 * len(made.settings.searches),
            **dict.fromkeys(
                ("symmetric-0.2", "symmetric-0.5", "symmetric_inclusive-0.5"), 2 * len(made.settings.searches)
            ),
        }
    )
    assert len(made.candidates) == len(made.selections) * 6 * 2


def test_the_claims_of_the_paper_are_judged_in_its_study() -> None:
    claims = preset("paper").study.claims

    assert claims is not None
    places = {place for claim in claims.claims for place in claim.places}
    made = preset("paper")
    assert places <= {"/".join(cell) for cell in made.cells}
    for claim in claims.claims:
        assert {*claim.methods, *claim.against} <= set(made.settings.methods)


@pytest.mark.parametrize("name", ["paper", "variants"])
def test_training_follows_the_protocol_of_the_field(name: str) -> None:
    made = preset(name)

    for dataset, data in made.settings.datasets.items():
        training = made.settings.training_of(dataset)
        assert (training.batch_size, training.learning_rate, training.weight_decay) == (128, 0.1, 5e-4)
        assert (training.momentum, training.nesterov, training.schedule) == (0.9, True, "cosine")
        assert training.epochs == (40 if dataset == "imagenet32" else 200)
        assert (data.crop, data.flip) == (12 if dataset == "stl10" else 4, True)
        assert training.epochs % training.measure_every == 0


@pytest.mark.parametrize("name", ["paper", "variants"])
def test_final_runs_on_the_papers_data_train_on_all_images_as_published_tables_do(name: str) -> None:
    made = preset(name)

    assert all(recipe.refit for recipe in made.runs.values())
    assert not any(recipe.refit for recipe in made.candidates.values())


@pytest.mark.parametrize("name", STUDIES)
def test_measurements_are_dense_enough_to_see_the_peak_under_noise(name: str) -> None:
    made = preset(name)

    for dataset in made.settings.datasets:
        training = made.settings.training_of(dataset)
        # Memorising begins within the first tenth of a training.
        assert training.measure_every <= max(1, training.epochs // 20)


# --- the evidence ----------------------------------------------------------------------------------------------------

EVIDENCE = ("evidence", "evidence-vgg16", "evidence-noise", "evidence-variants")


@pytest.mark.parametrize("name", EVIDENCE)
def test_the_evidence_is_of_a_regime_in_which_wrong_labels_are_memorised(name: str) -> None:
    made = preset(name)
    (data,) = made.settings.datasets.values()

    assert (data.train_size, data.validation_size, data.image_size) == (2000, 10000, 14)
    assert (data.crop, data.flip) == (0, True)
    assert "symmetric_inclusive-0.5" in made.settings.noise
    assert {network.width for network in made.settings.networks.values()} == {32}
    assert (made.settings.training.epochs, made.settings.training.precision) == (40, "bfloat16")


@pytest.mark.parametrize("name", ["evidence-vgg16", "evidence-noise"])
def test_the_smaller_studies_hold_the_methods_of_the_large_one_as_they_are_there(name: str) -> None:
    large, small = (preset(study).settings for study in ("evidence", name))

    for method, kind in small.methods.items():
        other = large.methods[method]
        left, right = (k.model_dump(exclude={"select"} if isinstance(k, Searched) else None) for k in (kind, other))
        assert left == right, method
    assert {kind.select.seeds for kind in small.searches.values()} == {(100, 101)}
    assert small.training == large.training


def test_a_choice_under_half_of_the_labels_serves_all_other_noise() -> None:
    made = preset("evidence-noise")

    assert {noise for _, noise, _, _ in made.selections} == {"symmetric_inclusive-0.5"}


@pytest.mark.parametrize("name", ["evidence", "evidence-vgg16"])
def test_the_claims_of_the_evidence_are_at_most_six_and_name_the_rival(name: str) -> None:
    made = preset(name)
    claims = made.study.claims

    assert claims is not None
    assert len(claims.claims) <= 6
    assert {place for claim in claims.claims for place in claim.places} == {"/".join(cell) for cell in made.cells}
    assert claims.rivals == {"one_pass", "baseline_tuned", "baseline"}
    for claim in claims.claims:
        assert {*claim.methods, *claim.against} <= set(made.settings.methods)
        assert claim.expected or claim.margin
        for method in claim.methods:
            assert made.study.tuned_controls[method]
            assert all(f"{network}/{method}" in made.study.controls for network in made.settings.networks)


@pytest.mark.parametrize("name", ["evidence", "evidence-vgg16", "evidence-noise", "paper", "fashion"])
def test_the_combination_is_the_sum_of_ways_that_are_tuned_at_its_passes(name: str) -> None:
    made = preset(name)
    searches = made.settings.searches
    budget = len(searches["output"].candidates)

    for network in made.settings.networks:
        wanted = composition(made, "combined", network).passes
        for way in FOUR:
            kind = made.settings.methods[way]
            assert isinstance(kind, Searched)
            passes = [composition(made, f"{way}.candidate{n}", network).passes for n in range(len(kind.candidates))]
            assert set(passes) == {wanted}
        assert (wanted.heads, wanted.drop, wanted.channel_drop) == (2, 0.5, 0.1)
    assert len({one["factor"] for one in searches["combined"].values}) == budget
    assert {len(searches[way].candidates) for way in FOUR} == {budget}


@pytest.mark.parametrize("name", ["evidence", "evidence-vgg16", "paper", "fashion"])
def test_each_way_and_the_combination_have_a_plain_and_a_tuned_control(name: str) -> None:
    made = preset(name)

    for method in (*FOUR, "combined"):
        assert all(made.study.controls[f"{net}/{method}"] == f"{method}_control" for net in made.settings.networks)
        assert made.study.tuned_controls[method] == (f"{method}_control_tuned",)


@pytest.mark.parametrize("name", ["evidence", "evidence-vgg16", "evidence-noise"])
def test_every_weight_has_four_values_or_more_over_decades(name: str) -> None:
    for method, kind in preset(name).settings.searches.items():
        weights: dict[str, set[float]] = {}
        for one in kind.candidates:
            if hasattr(one, "weight"):
                weights.setdefault(getattr(one, "variant", ""), set()).add(one.weight)
        for variant, values in weights.items():
            assert len(values) >= 4, (method, variant)
            assert max(values) / min(values) >= 10, (method, variant)


def test_every_variant_of_every_loss_is_in_the_evidence_once() -> None:
    variants, evidence = (
        {
            (getattr(term, "form", getattr(term, "variant", "")), type(term).__name__)
            for method in preset(name).settings.methods
            for term in composition(preset(name), method).terms
        }
        for name in ("variants", "evidence-variants")
    )

    assert variants <= evidence
    assert preset("evidence-variants").settings.seeds == (0,)


# --- the variants ----------------------------------------------------------------------------------------------------


def test_every_variant_of_every_loss_is_in_the_study_of_variants() -> None:
    made = preset("variants")
    methods = [own(made, name) for name in made.settings.methods]

    output = [method for method in methods if isinstance(method, Output)]
    assert {method.agreement for method in output} == {"symmetric_kl", "song_chai", "jensen_shannon", "stop_gradient"}
    assert {method.temperature_squared for method in output if method.agreement == "song_chai"} == {False, True}
    assert {method.split for method in output} >= {"classifier", "stage4", "stage3", "stage2", "input"}
    assert {method.views for method in output} == {"same", "independent"}
    assert {method.heads for method in output} == {2, 4}
    assert {method.ramp for method in output} == {None, 0.0}
    for kind, variants in (
        (Intermediate, {"virtual", "partition", "to_output"}),
        (Representation, {"spatial", "pooled", "per_sample"}),
        (Kernel, {"rows", "one_sided", "self_convolution"}),
    ):
        assert {method.variant for method in methods if isinstance(method, kind)} == variants
    heads = [method for method in methods if isinstance(method, MultiHead)]
    assert {method.pattern for method in heads} == {"hierarchical", "simple", "instances"}
    # Given the dropout of `output`.
    default = Output()
    assert {(method.drop, method.channel_drop) for method in heads} == {(default.drop, default.channel_drop)}
    assert {method.kind for method in methods if not isinstance(method, Control)} >= {
        "baseline", "dropout", "label_smoothing", "combined", *FOUR
    }  # fmt: skip


def test_variants_differ_from_each_other() -> None:
    made = preset("variants")
    # Controls of several methods may be the same training, which the store holds once.
    methods = [name for name in made.settings.methods if not isinstance(own(made, name), Control)]

    assert len({composition(made, name).model_dump_json() for name in methods}) == len(methods)


def test_the_four_combine_in_the_study_of_variants() -> None:
    made = preset("variants")

    terms = [type(term).__name__ for term in composition(made, "combined_all").terms]
    assert terms == ["AgreementTerm", "IntermediateTerm", "RepresentationTerm", "KernelTerm"]
    pairs = {name: composition(made, name).terms for name in made.settings.methods if name.startswith("combined_")}
    for name in ("combined_intermediate", "combined_representation", "combined_kernel"):
        assert len(pairs[name]) == 2
        assert isinstance(pairs[name][0], AgreementTerm)
    assert isinstance(composition(made, "multi_head_hierarchical").passes, Branches)


@pytest.mark.parametrize("name", STUDIES)
def test_every_configuration_of_the_repository_is_a_study(name: str) -> None:
    made = preset(name)

    assert made.runs
    assert len({recipe.digest for recipe in made.trainings.values()}) == len(made.trainings)


# --- planned by the real Snakemake -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), [("variants", 1), ("paper", 10)])
def test_snakemake_plans_all_trainings_of_a_preset(name: str, size: int, tmp_path: Path) -> None:
    fresh = Workspace.create(tmp_path / "fresh", SMALL)
    for file in CONFIG.glob("*.yaml"):
        shutil.copy(file, fresh.config.parent)
    # One seed per job plans the paper's study in a minute; all ten of a cell in one job take a few seconds.
    packed = fresh.root / "packed.yaml"
    packed.write_text(f"execution: {{seeds_per_job: {size}}}\n")
    if name == "paper":  # whose ImageNet32 every user brings along; a mirror could have it
        own = "datasets: {imagenet32: {data_dir: null, mirrors: ['http://127.0.0.1:9/']}}\n"
        packed.write_text(packed.read_text() + own)
    files = [fresh.config.parent / f"{name}.yaml", packed]

    planned = jobs(fresh.snakemake("-n", "--quiet", "rules", "--configfile", *files))

    made = preset(name)
    assert made.settings.execution.seeds_per_job == 1
    cells = len(made.runs) // len(made.settings.seeds)
    blocks = len({seed // size for seed in made.settings.seeds})
    assert planned["train"] == planned["evaluate"] == cells * blocks
    # Seeds 100 and 101 share a block of ten, and are two of one.
    assert planned.get("train_candidates", 0) == len(made.candidates) // min(size, 2)
    assert planned.get("choose", 0) == len(made.selections)
    assert planned["noisy_labels"] == len(made.labels)
    assert planned["prepare_dataset"] == planned["fetch_dataset"] == len(made.settings.datasets)
    assert (planned["measure_overhead"], planned["assemble_tables"]) == (1, 1)

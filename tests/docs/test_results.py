"""The numbers in the pages about the evidence study are those of the files that lie beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from collabpipe.analysis.intervals import Difference, t_interval
from collabpipe.plan.plan import Plan
from tests.workspaces import REPOSITORY

EVIDENCE = REPOSITORY / "docs" / "results" / "evidence"
FEW, WRONG = "none", "symmetric_inclusive-0.5"
RIVALS = {FEW: "baseline_tuned", WRONG: "one_pass"}
CONTROLLED = ["output", "intermediate", "representation", "kernel", "combined", "output_late", "multi_head", "gjs"]
INTERVAL = re.compile(r"[+-]\d+\.\d\d\s+\[[+-]\d+\.\d\d,\s+[+-]\d+\.\d\d\]")


NUMBER = r"[+-]\d+\.\d\d|\b\d\d\.\d\d"


def text(name: str) -> str:
    return (REPOSITORY / name).read_text()


@cache
def table(name: str) -> pd.DataFrame:
    return pd.read_csv(EVIDENCE / name, keep_default_na=False, na_values=[""])


@cache
def accuracies(noise: str) -> pd.DataFrame:
    runs = table("accuracies.csv")
    return runs[runs.noise == noise].pivot(index="seed", columns="method", values=["last", "best"])


def written(mean: float, low: float, high: float) -> str:
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


def difference(noise: str, first: str, second: str, epochs: tuple[str, str] = ("last", "last")) -> str:
    """As the pages write it; empty where the study has no such methods, or where they are the same."""
    here = accuracies(noise)
    pair = (epochs[0], first), (epochs[1], second)
    if any(one not in here for one in pair) or first == second:
        return ""
    gain = t_interval((here[pair[0]] - here[pair[1]]).to_numpy())
    return written(gain.mean, gain.low, gain.high)


def row(noise: str, method: str) -> list[str]:
    """Method, last and best epoch, differences: baseline, plain control, tuned control, rival (at its best epoch)."""
    here = accuracies(noise)
    last, best = here["last", method], here["best", method]
    controls = [f"{method}_control", f"{method}_control_tuned"] if method in CONTROLLED else ["", ""]
    against = [difference(noise, method, other) for other in ("baseline", *controls)]
    rival = difference(noise, method, RIVALS[noise], ("last", "best"))
    return [f"`{method}`", f"{last.mean():.2f} ± {last.std():.2f}", f"{best.mean():.2f}", *against, rival]


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


@pytest.mark.parametrize("noise", [FEW, WRONG])
@pytest.mark.parametrize(
    "method",
    ["baseline", "baseline_tuned", "one_pass", "combined_control", "combined_control_tuned", *CONTROLLED, "elr"],
)
def test_the_page_has_each_method_as_its_runs_say(noise: str, method: str) -> None:
    assert line(row(noise, method)) in text("docs/results/README.md")


@pytest.mark.parametrize(
    ("noise", "method"),
    [(WRONG, name) for name in ("baseline", "one_pass", "intermediate", "combined")]
    + [(FEW, name) for name in ("baseline", "baseline_tuned", "combined")],
)
def test_the_first_table_of_the_readme_says_the_same(noise: str, method: str) -> None:
    name, last, best, baseline, _, tuned, rival = row(noise, method)
    label = {FEW: "few, right", WRONG: "half wrong"}[noise]
    assert line([label, name, last, best, baseline, tuned, rival]) in text("README.md")


def known_intervals() -> set[str]:
    """Every paired difference of the study, at either epoch, and every interval of the claims."""
    claims = table("claims.csv").dropna(subset=["low"]).to_dict("records")
    known = {written(one["estimate"], one["low"], one["high"]) for one in claims}
    names = list(accuracies(FEW)["last"].columns)
    for noise, first, second, *epochs in product((FEW, WRONG), names, names, ("last", "best"), ("last", "best")):
        known.add(difference(noise, first, second, (epochs[0], epochs[1])))
        if first == second and epochs[0] != epochs[1]:
            gain = t_interval((accuracies(noise)[epochs[0], first] - accuracies(noise)[epochs[1], first]).to_numpy())
            known.add(written(gain.mean, gain.low, gain.high))
    return known


def test_every_interval_in_the_pages_is_one_of_the_study() -> None:
    known = known_intervals()
    for page in ("docs/results/README.md", "README.md", "docs/methods.md"):
        found = [" ".join(one.split()) for one in INTERVAL.findall(text(page))]
        assert found, page
        assert [one for one in found if one not in known] == [], page


def verdicts(found: pd.DataFrame) -> list[str]:
    """What the first of these rows of claims.csv says: to what is claimed, to the control, to the rival."""
    first = found.iloc[0]
    return [first[f"verdict{to}"] for to in ("", "_control", "_rival")]


@pytest.mark.parametrize("claim", ["each_way_helps", "combining_helps_more", "wrong_labels", "few_labels"])
def test_the_verdicts_of_the_page_are_those_of_the_pipeline(claim: str) -> None:
    claims = table("claims.csv")
    for name in sorted({name for name in claims.claim if name.startswith(claim)}):
        found = claims[claims.claim == name]
        one, (verdict, *others) = found.iloc[0], verdicts(found)
        interval = written(one["estimate"], one["low"], one["high"])
        assert " | ".join(["", interval, f"**{verdict}**", *others, ""]).strip() in text("docs/results/README.md")


@pytest.mark.parametrize("way", ["output", "intermediate", "representation", "kernel", "combined"])
def test_the_verdicts_of_each_way_are_those_of_the_pipeline(way: str) -> None:
    claims = table("claims.csv")
    ours = claims[claims.comparison.str.startswith(f"{way} - baseline") & claims.reading.str.contains("last epoch")]
    cells = [verdicts(ours[ours.comparison.str.contains(noise)]) for noise in (f"/{WRONG}/", f"/{FEW}/")]
    assert line([f"`{way}`", *cells[0], *cells[1]]) in text("docs/results/README.md")


def test_the_shares_of_errors_that_the_combination_takes_off_are_those_of_the_runs() -> None:
    errors = 100 - accuracies(FEW)

    def fewer(other: tuple[str, str], confidence: float) -> Difference:
        return t_interval((100 * (1 - errors["last", "combined"] / errors[other])).to_numpy(), confidence)

    joint = 1 - 0.05 / 6
    plain, tuned = ("last", "combined_control"), ("last", "combined_control_tuned")
    page, readme = (" ".join(text(name).split()) for name in ("docs/results/README.md", "README.md"))
    baseline, alone = fewer(("last", "baseline"), joint), fewer(("last", "baseline"), 0.95)
    estimate, interval = f"{baseline.mean:.1f}% fewer", f"{baseline.low:.1f} to {baseline.high:.1f}"
    assert f"The estimate is {estimate} errors. The joint interval ({interval}) contains 9.28." in page
    assert f"this comparison alone ({alone.low:.1f} to {alone.high:.1f})" in page
    assert baseline.high > 9.28 > alone.high
    assert f"{estimate}, joint interval {interval}" in readme
    shares = [f"{fewer(control, joint).mean:.1f}%" for control in (plain, tuned)]
    assert f"{shares[0]} (plain) and {shares[1]} (tuned) fewer errors" in page
    assert f"{shares[0]} and {shares[1]} fewer" in readme
    assert max(fewer(control, joint).high for control in (plain, tuned)) < 9.28
    assert f"tuned weight decay: {fewer(('best', 'baseline_tuned'), joint).mean:.1f}% fewer" in readme


def test_the_tables_of_the_pipeline_agree_with_the_single_runs() -> None:
    for one in table("main.csv").to_dict("records"):
        here = accuracies(one["noise"])
        assert np.isclose(here["last", one["method"]].mean(), one["accuracy_mean"], atol=1e-3)
        assert np.isclose(here["best", one["method"]].mean(), one["best_mean"], atol=1e-3)
        if one["method"] != "baseline":
            gain = t_interval((here["last", one["method"]] - here["last", "baseline"]).to_numpy())
            told = [one[f"diff_baseline{end}"] for end in ("", "_low", "_high")]
            assert np.allclose([gain.mean, gain.low, gain.high], told, atol=1e-3)


def test_each_choice_is_its_best_candidate_on_validation_labels() -> None:
    for _, group in table("choices.csv").groupby(["noise", "method"]):
        chosen = group[group.chosen]
        assert len(group) == 8
        assert chosen["mean"].item() == group["mean"].max()


def test_the_baseline_memorises_the_wrong_labels() -> None:
    runs = table("accuracies.csv")
    fitted = runs[(runs.noise == WRONG) & (runs.method == "baseline")].memorised
    page = text("docs/results/README.md")
    assert f"{100 * fitted.mean():.1f}% of the wrong labels" in page
    assert f"at least {100 * fitted.min():.1f}%" in page


@pytest.mark.parametrize("page", ["docs/results/README.md", "docs/overhead.md"])
@pytest.mark.parametrize(
    "method", ["one_pass", "output", "intermediate", "representation", "kernel", "combined", "multi_head"]
)
def test_the_pages_say_what_a_step_costs(page: str, method: str) -> None:
    cost = table("overhead.csv").set_index("method").loc[method]
    ratios = [cost[f"{column}_ratio"] for column in ("flops", "saved_bytes", "peak_bytes", "step_seconds")]
    assert line([f"`{method}`", *(f"×{ratio:.2f}" for ratio in ratios)]) in text(page)


OTHERS = [("last", "baseline"), ("last", "control"), ("last", "control_tuned"), ("best", "one_pass")]


def gains(by_seed: pd.DataFrame, method: Any, others: list[tuple[str, str]]) -> list[str]:
    """The mean points of a method at its last epoch above others; empty for the method itself."""
    return [f"{(by_seed['last', method] - by_seed[one]).mean():+.2f}" * (one[1] != method) for one in others]


def test_the_page_about_vgg16_says_what_its_runs_say() -> None:
    runs = pd.read_csv(EVIDENCE.with_name("evidence-vgg16-carried.csv"))
    page = text("docs/results/vgg16.md")
    by_seed = runs.pivot(index="seed", columns="method", values=["last", "best"])
    for method, of in runs.groupby("method"):
        each = ", ".join(f"{one:.1f}" for one in of["last"])
        mean = f"{of['last'].mean():.2f} ± {of['last'].std():.2f}"
        row = [f"`{method}`", mean, each, f"{of['best'].mean():.2f}", f"{100 * of['memorised'].mean():.1f}%"]
        assert line([*row, *gains(by_seed, method, OTHERS)]) in page
    pairs = ((by_seed[one] - by_seed[other]).to_numpy() for one, other in product(by_seed, by_seed) if one != other)
    known = {written(gain.mean, gain.low, gain.high) for gain in map(t_interval, pairs)}
    found = {" ".join(one.split()) for one in INTERVAL.findall(page)}
    assert found
    assert found <= known


def test_the_page_about_other_noise_says_what_its_runs_say() -> None:
    runs = pd.read_csv(EVIDENCE.with_name("evidence-noise-carried.csv"))
    page = text("docs/results/other-noise.md")
    known: set[str] = set()
    for _, here in runs.groupby("noise"):
        by_seed = here.pivot(index="seed", columns="method", values=["last", "best"])
        for method, of in here.groupby("method"):
            means = [f"{of['last'].mean():.2f}", f"{of['best'].mean():.2f}", f"{100 * of['memorised'].mean():.1f}%"]
            differences = gains(by_seed, method, [*OTHERS, ("best", "baseline")])
            assert line([f"`{method}`", str(len(of)), *means, *differences]) in page
            known |= {*means, *differences}
    assert set(re.findall(NUMBER, page)) <= known


def further_replicates() -> Iterator[tuple[str, str]]:
    """Of each precision on a CPU: the mean of `intermediate_to_output`, and the difference to the same on the GPU."""
    runs = pd.read_csv(EVIDENCE.with_name("to-output-precision.csv"))
    there = accuracies(WRONG)["last"]["to_output_alone"]
    for _, found in runs.groupby("precision"):
        here = found.set_index("seed")["last"]
        gain = t_interval((here - there[here.index]).to_numpy())
        yield f"{here.mean():.2f}", written(gain.mean, gain.low, gain.high)


def on_two_processors(variants: dict[tuple[str, str], Any]) -> set[str]:
    """The numbers of the runs that were made on two processors; all but those of one method are the same on both."""
    runs = pd.read_csv(EVIDENCE.with_name("two-processors.csv"))
    measured = ["last", "best", "best_epoch", "memorised"]
    for method, found in runs[runs["mkl"].isna()].groupby("method"):
        amd, intel = (
            found[found["processor"] == name][measured].iloc[0].to_list() for name in ("AMD EPYC", "Intel Xeon")
        )
        assert amd == [variants[(WRONG, str(method))][name] for name in measured]
        assert (intel == amd) == (method != "intermediate_to_output")
    numbers = runs[["last", "first_loss", "best_validation"]].to_numpy().ravel()
    return {f"{number:.2f}" for number in numbers if number == number}


def test_the_page_about_the_variants_says_what_its_runs_say() -> None:
    page = text("docs/results/variants.md")
    rows = pd.read_csv(EVIDENCE.with_name("evidence-variants.csv"), keep_default_na=False, na_values=[""])
    runs: dict[tuple[str, str], Any] = {(one["noise"], one["method"]): one for one in rows.to_dict("records")}
    controls = Plan.from_files([REPOSITORY / "config" / "evidence-variants.yaml"], Path("results")).study.controls
    there = (accuracies(WRONG)["last"], accuracies(WRONG)["best"], accuracies(FEW)["last"])
    known = {f"{value:.2f}" for runs_there in there for value in runs_there.loc[0]}
    for method in {method for _, method in runs}:
        cells = [f"`{method}`"]
        for noise, epochs in ((WRONG, ("last", "best")), (FEW, ("last",))):
            one, control = runs.get((noise, method)), runs.get((noise, controls.get(f"resnet18/{method}", "")))
            cells += [f"{one[epoch]:.2f}" if one else "" for epoch in epochs]
            if noise == WRONG:
                cells.append(f"{100 * one['memorised']:.1f}%" if one else "")
            cells += [f"{one[epoch] - control[epoch]:+.2f}" if one and control else "" for epoch in epochs]
        assert line(cells) in page
        known |= set(cells)
    for mean, interval in further_replicates():
        known |= {mean, *re.findall(NUMBER, interval), f"{abs(float(interval.split()[0])):.2f}"}
        assert interval in " ".join(page.split())
    known |= on_two_processors(runs)
    assert set(re.findall(NUMBER, page)) <= known
    assert f"{len(runs)} of the study's 140 runs" in page

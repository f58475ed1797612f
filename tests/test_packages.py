"""The order of the packages: what may import what, and that no command waits for a library that it does not need."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from collabpipe.methods.registry import TERMS
from tests.workspaces import REPOSITORY

PACKAGE = REPOSITORY / "collabpipe"
# What takes seconds to import: the planning of a study, which every job of a cluster repeats, needs none of it.
HEAVY = {"torch", "torchvision", "sklearn", "pandas", "matplotlib", "snakemake", "scipy"}


def name_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FLOORS = (
    {"common", "shipped"},
    {"host", "catalogue", "methods"},
    {"settings", "model"},
    {"plan"},
    {"data", "results"},
    {"training"},
    {"analysis"},
    {"jobs", "audit", "report"},
    {"cli"},
)
"""The packages, the lowest floor first: a package imports those below it, and of its own floor without a circle."""
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILE_NAMES = "collabpipe.plan.paths"
PLANNING = ("common", "host", "catalogue", "methods", "settings", "plan")

MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def statements(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """All imports of a module, those within functions too, but not those for type checkers alone."""
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield from (part for part in ast.walk(node) if isinstance(part, ast.Import | ast.ImportFrom))


@cache
def imports(module: str) -> frozenset[str]:
    """The modules that a module names in its imports, the package's own in full."""
    found: set[str] = set()
    for statement in statements(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
            continue
        assert statement.level == 0, f"{module}: imports are absolute"
        source = statement.module or ""
        for alias in statement.names:
            full = f"{source}.{alias.name}"
            found.add(full if full in MODULES else source)
    return frozenset(found)


def own(module: str) -> set[str]:
    """The package's modules that a module imports."""
    return {name for name in imports(module) if name in MODULES}


def libraries(module: str) -> set[str]:
    """The top-level names of the libraries that a module imports."""
    return {name.split(".")[0] for name in imports(module)} - {"collabpipe"}


def reachable(module: str) -> set[str]:
    """All of the package's modules that a module leads to."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        for name in own(waiting.pop()) - found:
            found.add(name)
            waiting.append(name)
    return found


def below(*packages: str) -> set[str]:
    """The modules of these packages."""
    return {name for name in MODULES if any(name == p or name.startswith(f"{p}.") for p in packages)}


def test_the_reader_of_imports_reads_them() -> None:
    # Without this a mistake in the reader would make every other test here pass.
    assert {"collabpipe.model.terms.base", "collabpipe.methods.composition"} <= own("collabpipe.model.method")
    assert "collabpipe.training.engine" in own("collabpipe.jobs.train"), "within a function"
    assert "sklearn" in libraries("collabpipe.data.formats")
    assert "torch" in libraries("collabpipe.model.terms.output")


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_snakemake(module: str) -> None:
    assert "snakemake" not in libraries(module), "the package works, and is tested, without it"


def package(module: str) -> str:
    """The package of a module: "plan" of collabpipe.plan.paths, empty for what belongs to none."""
    name = module.partition(".")[2].partition(".")[0]
    return name if name in FLOOR else ""


def packages(module: str) -> set[str]:
    """The other packages that a module imports."""
    return {package(name) for name in own(module)} - {package(module), ""}


def test_every_package_has_a_floor_and_says_in_one_line_what_it_holds() -> None:
    assert sorted(FLOOR) == sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists())
    for name in FLOOR:
        text = ast.get_docstring(ast.parse(MODULES[f"collabpipe.{name}"].read_text(encoding="utf-8")))
        assert text
        assert "\n" not in text


@pytest.mark.parametrize("module", [module for module in MODULES if package(module)])
def test_no_package_imports_one_of_a_higher_floor(module: str) -> None:
    assert not {name for name in packages(module) if FLOOR[name] > FLOOR[package(module)]}


def test_modules_and_packages_import_each_other_in_no_circle() -> None:
    order = list(TopologicalSorter({module: own(module) for module in MODULES}).static_order())
    assert set(order) == set(MODULES)
    arrows = {name: set().union(*(packages(m) for m in below(f"collabpipe.{name}"))) for name in FLOOR}
    assert set(TopologicalSorter(arrows).static_order()) == set(FLOOR)


@pytest.mark.parametrize("module", sorted(below(*(f"collabpipe.{name}" for name in (*PLANNING, "data", "results")))))
def test_planning_and_looking_at_results_import_no_torch(module: str) -> None:
    assert not libraries(module) & {"torch", "torchvision"}, "within a function neither"
    assert not packages(module) & {"model", "training"}


def test_each_term_has_its_loss_in_the_module_of_the_same_name() -> None:
    for term in TERMS.values():
        family = term.__module__.removeprefix("collabpipe.methods.")
        assert term in importlib.import_module(f"collabpipe.model.terms.{family}").TERMS


@pytest.mark.parametrize("module", sorted(below("collabpipe.model.terms") - {"collabpipe.model.terms.base"}))
def test_the_losses_of_a_family_know_nothing_of_what_uses_them(module: str) -> None:
    family = module.rpartition(".")[2]
    methods = {f"collabpipe.methods.{name}" for name in (family, "composition")}
    shared = {f"collabpipe.model.{name}" for name in ("tensors", "networks", "heads")}
    shared.add("collabpipe.common.global_draws")
    assert own(module) <= methods | shared | below("collabpipe.model.terms")
    assert own("collabpipe.model.tensors") == set()


def spelled(module: str) -> set[str]:
    """The texts that a module spells out."""
    constants = (n.value for n in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(n, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {FILE_NAMES}))
def test_one_module_alone_names_the_files_of_the_results(module: str) -> None:
    names = {text for text in spelled(FILE_NAMES) if re.fullmatch(r"[a-z]+\.[a-z]+", text)}
    assert {"record.json", "annotations.parquet", "claims.csv", "report.html"} < names
    assert not spelled(module) & names


@pytest.mark.parametrize("module", ["common.files", "host.results_lock"])
def test_files_and_the_lock_of_the_results_know_of_errors_alone(module: str) -> None:
    assert reachable(f"collabpipe.{module}") == {"collabpipe.common.errors"}


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        # Within a package and within a floor: who stands below imports nothing of who stands above.
        ({"common.errors", "common.seeds", "training.scores", "analysis.intervals"}, {""}),
        ({"plan.plan"}, {"results.workflow"}),
        # Whoever looks changes nothing; who sets timestamps looks, and what it adopts it asks nobody above for.
        ({"results.state"}, {"results.timestamps", "results.adoption", "results.store"}),
        ({"results.store", "results.provenance"}, {"plan.plan", "results.state", "results.adoption"}),
        ({"results.adoption"}, {"results.timestamps", "results.workflow"}),
        ({"training", "jobs", "analysis"}, {"results.timestamps", "results.adoption", "host.results_lock"}),
        ({"jobs.train", "jobs.evaluate", "jobs.choose"}, {"plan.plan", "results.workflow"}),
    ],
    ids=["leaves", "plan", "state", "store", "adoption", "jobs", "recipes"],
)
def test_arrows_within_the_floors_point_downwards(lower: set[str], upper: set[str]) -> None:
    below_it, above_it = (below(*(f"collabpipe.{name}".rstrip(".") for name in names)) for names in (lower, upper))
    assert below_it
    assert above_it
    for module in below_it:
        assert not reachable(module) & (above_it - below_it), module


def test_training_and_evaluation_build_on_methods_data_and_networks() -> None:
    engine = reachable("collabpipe.training.engine")
    assert {"collabpipe.model.method", "collabpipe.model.networks", "collabpipe.data.prepared"} <= engine
    evaluation = reachable("collabpipe.jobs.evaluate")
    assert {"collabpipe.model.networks", "collabpipe.data.prepared", "collabpipe.training.scores"} <= evaluation
    assert "collabpipe.analysis.intervals" in own("collabpipe.analysis.tables")


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter holds after some code."""
    code = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


LIGHT = [
    *(
        "plan.paths",
        "settings.study",
        "settings.training",
        "plan.plan",
        "results.workflow",
        "results.state",
        "results.adoption",
    ),
    *("results.timestamps", "host.results_lock", "results.prune", "cli.main", "plugin"),
]


@pytest.mark.parametrize("module", LIGHT)
def test_planning_waits_for_no_heavy_library(module: str) -> None:
    loaded = loaded_after(f"import collabpipe.{module}")

    assert f"collabpipe.{module}" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize("study", ["config/config.yaml", "docs/examples/plugins/study.yaml"])
def test_planning_a_study_waits_for_no_heavy_library_either(study: str, tmp_path: Path) -> None:
    # Imports within functions happen when these are called.
    config = REPOSITORY / study
    loaded = loaded_after(
        "from pathlib import Path; from collabpipe.plan.plan import Plan\n"
        "from collabpipe.results.timestamps import settle\n"
        f"settle(Plan.from_files([Path({str(config)!r})], Path({str(tmp_path)!r})))"
    )

    assert not loaded & HEAVY
    assert list((tmp_path / "recipes").iterdir())


def test_a_training_that_is_found_in_the_store_need_not_import_torch() -> None:
    loaded = loaded_after("import collabpipe.jobs.train, collabpipe.jobs.evaluate")

    assert not loaded & (HEAVY - {"scipy"})


TRAIN = """
import numpy as np, torch
import collabpipe.jobs.evaluate
from collabpipe.methods.composition import Composition, Passes
from collabpipe.methods.kernel import KernelTerm
from collabpipe.methods.output import AgreementTerm
from collabpipe.methods.representation import RepresentationTerm
from collabpipe.model.method import Generators, build_method
from collabpipe.model.networks import initialise
from collabpipe.training.scores import is_collapsed, score
from collabpipe.settings.training import NetworkSettings, TrainingSettings
from collabpipe.training import device, engine, measure
from collabpipe.training.optimiser import Sgd

device.be_deterministic(1)
terms = (
    AgreementTerm(form="symmetric_kl", weight=1.0),
    KernelTerm(variant="rows", weight=0.1),
    RepresentationTerm(variant="spatial", weight=0.1, taps=("stage3",)),
)
passes = Passes(heads=2, split="stage2", drop=0.5, channel_drop=0.1)
method = build_method(Composition(passes=passes, terms=terms), NetworkSettings(kind="resnet8", width=4), 8, 1, 10)
initialise(method, torch.Generator().manual_seed(0))
generators = Generators(torch.Generator(), torch.Generator())
optimiser = Sgd(method.parameters(), TrainingSettings(epochs=1))
method(torch.rand(8, 1, 8, 8), torch.arange(8), torch.arange(8), 0.5, generators)[0].backward()
optimiser.step(0.1)
with torch.no_grad():
    logits = method.network.eval()(torch.rand(8, 1, 8, 8)).numpy()
score(logits, np.arange(8)), is_collapsed(logits)
"""


def test_a_step_and_its_scores_import_no_further_library_for_the_small_network() -> None:
    loaded = loaded_after(TRAIN)

    assert "torch" in loaded
    assert not loaded & (HEAVY - {"torch"})
    # Torch's compiler comes with torch.optim and takes as long as torch itself.
    assert "torch._dynamo" not in loaded
    assert "torch._inductor" not in loaded

"""Import arrows: what may know of what, and that nobody waits for a library that he does not need."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "collabpipe"
# What takes seconds to import: the planning of a study, which every job of a cluster repeats, needs none of it.
HEAVY = {"torch", "torchvision", "sklearn", "pandas", "matplotlib", "snakemake", "scipy"}


def name_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


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
    assert {"collabpipe.losses", "collabpipe.composition"} <= own("collabpipe.methods")
    assert "collabpipe.training.engine" in own("collabpipe.training.job"), "within a function"
    assert "sklearn" in libraries("collabpipe.data.formats")
    assert "torch" in libraries("collabpipe.losses")


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_snakemake(module: str) -> None:
    assert "snakemake" not in libraries(module), "the package works, and is tested, without it"


def test_modules_import_each_other_in_no_circle() -> None:
    order = list(TopologicalSorter({module: own(module) for module in MODULES}).static_order())

    assert set(order) == set(MODULES)


def test_losses_are_functions_that_know_nothing_of_what_uses_them() -> None:
    assert "collabpipe.losses" in own("collabpipe.methods")
    assert own("collabpipe.losses") == {"collabpipe.tensors"}
    assert own("collabpipe.tensors") == set()


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        # Who stands below is imported, and imports nothing of who stands above.
        ({"collabpipe.errors", "collabpipe.seeds", "collabpipe.scores", "collabpipe.statistics"}, set(MODULES)),
        (below("collabpipe.noise"), set(MODULES)),
        (below("collabpipe.files"), set(MODULES) - {"collabpipe.errors"}),
        (
            below("collabpipe.composition", "collabpipe.kinds", "collabpipe.settings", "collabpipe.settings_errors"),
            below("collabpipe.plan", "collabpipe.recipe", "collabpipe.paths", "collabpipe.methods", "collabpipe.files"),
        ),
        (below("collabpipe.data"), below("collabpipe.plan", "collabpipe.labels", "collabpipe.methods")),
        (
            below("collabpipe.networks", "collabpipe.passes", "collabpipe.methods"),
            # The table of sources alone stands below: settings ask it how many images there are.
            below("collabpipe.training", "collabpipe.data", "collabpipe.labels", "collabpipe.recipe")
            - {"collabpipe.data", "collabpipe.data.sources"},
        ),
        (
            below("collabpipe.training", "collabpipe.evaluation"),
            below("collabpipe.plan", "collabpipe.tables", "collabpipe.figures", "collabpipe.reconcile")
            | below("collabpipe.settle"),
        ),
        # Whoever looks changes nothing; settling looks, and what it adopts it asks nobody above for.
        (below("collabpipe.plan"), below("collabpipe.workflow", "collabpipe.reconcile", "collabpipe.store")),
        (
            below("collabpipe.reconcile", "collabpipe.workflow"),
            below("collabpipe.settle", "collabpipe.adoption", "collabpipe.store"),
        ),
        (
            below("collabpipe.store", "collabpipe.provenance", "collabpipe.writer"),
            below("collabpipe.plan", "collabpipe.reconcile", "collabpipe.adoption", "collabpipe.settle"),
        ),
        (below("collabpipe.adoption"), below("collabpipe.settle", "collabpipe.workflow")),
        (below("collabpipe.occupancy"), set(MODULES) - {"collabpipe.errors"}),
        (
            below("collabpipe.training", "collabpipe.evaluation", "collabpipe.selection", "collabpipe.tables"),
            below("collabpipe.settle", "collabpipe.adoption", "collabpipe.occupancy", "collabpipe.workflow"),
        ),
        (set(MODULES) - below("collabpipe.cli", "collabpipe.__main__"), below("collabpipe.cli", "collabpipe.commands")),
    ],
    ids=[
        *("leaves", "noise", "files", "settings", "data", "methods", "training"),
        *("plan", "reconcile", "store", "adoption", "occupancy", "jobs", "cli"),
    ],
)
def test_arrows_point_downwards(lower: set[str], upper: set[str]) -> None:
    assert lower <= set(MODULES)
    for module in lower:
        assert not reachable(module) & (upper - lower), module


def test_training_and_evaluation_build_on_methods_data_and_networks() -> None:
    engine = reachable("collabpipe.training.engine")
    assert {"collabpipe.methods", "collabpipe.networks", "collabpipe.data.store"} <= engine
    assert {"collabpipe.networks", "collabpipe.data.store", "collabpipe.scores"} <= reachable("collabpipe.evaluation")
    assert "collabpipe.statistics" in own("collabpipe.tables")


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter holds after some code."""
    code = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


PLANNING = ["paths", "settings", "plan", "workflow", "reconcile", "adoption", "settle", "occupancy"]


@pytest.mark.parametrize("module", PLANNING)
def test_planning_waits_for_no_heavy_library(module: str) -> None:
    loaded = loaded_after(f"import collabpipe.{module}")

    assert f"collabpipe.{module}" in loaded
    assert not loaded & HEAVY


def test_planning_a_study_waits_for_no_heavy_library_either(tmp_path: Path) -> None:
    # Imports within functions happen when these are called.
    config = REPOSITORY / "config" / "config.yaml"
    loaded = loaded_after(
        "from pathlib import Path; from collabpipe.plan import Plan; from collabpipe.settle import settle\n"
        f"settle(Plan.from_files([Path({str(config)!r})], Path({str(tmp_path)!r})))"
    )

    assert not loaded & HEAVY
    assert list((tmp_path / "recipes").iterdir())


def test_a_training_that_is_found_in_the_store_need_not_import_torch() -> None:
    loaded = loaded_after("import collabpipe.training.job, collabpipe.evaluation")

    assert not loaded & (HEAVY - {"scipy"})


TRAIN = """
import numpy as np, torch
import collabpipe.evaluation
from collabpipe.composition import AgreementTerm, Composition, KernelTerm, Passes, RepresentationTerm
from collabpipe.methods import Generators, build_method
from collabpipe.networks import initialise
from collabpipe.scores import is_collapsed, score
from collabpipe.settings import NetworkSettings, TrainingSettings
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

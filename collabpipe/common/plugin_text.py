"""What a plugin's text must not do, told before it runs: import torch while planning, draw from global randomness."""

from __future__ import annotations

import ast
from collections.abc import Iterator

HEAVY = ("torch", "torchvision", "collabpipe.model", "collabpipe.training", "collabpipe.jobs")
SEEDED = {"default_rng", "RandomState", "PCG64", "PCG64DXSM", "Philox", "SFC64", "MT19937", "SeedSequence", "Random"}
"""Generators that are local if they are given a seed."""
TYPES = {"Generator", "BitGenerator"}
DRAWING = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"}
DRAWING |= {f"{name}_like" for name in DRAWING}
"""Functions of torch that draw from its global generator, unless they are given another."""
IN_PLACE = {"normal_", "uniform_", "random_", "bernoulli_", "exponential_", "cauchy_", "log_normal_", "geometric_"}
IN_PLACE |= {f"{name}_" for name in ("trunc_normal", "orthogonal", "sparse")}
IN_PLACE |= {f"{way}_{form}_" for way in ("kaiming", "xavier") for form in ("normal", "uniform")}
SEEDING = {"manual_seed", "seed", "set_rng_state"}

Fault = tuple[int, str]
"""Line, and what is wrong there with a remedy."""


def faults(tree: ast.Module) -> list[Fault]:
    """All faults of a plugin's text, in the order of its lines."""
    return sorted([*_heavy_imports(tree), *_global_draws(tree)])


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """What an import names: the name in this file, and the full one."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (
                alias.asname or alias.name.partition(".")[0],
                alias.name if alias.asname else alias.name.partition(".")[0],
            )
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module or ''}.{alias.name}"


def _run_at_once(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs when the file is loaded: all but the insides of functions and what is for type checkers alone."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        yield node
        for block in ("body", "orelse", "finalbody"):
            yield from _run_at_once(getattr(node, block, []))


def _heavy_imports(tree: ast.Module) -> Iterator[Fault]:
    for node in _run_at_once(tree.body):
        named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        named += [name for _, name in _imported(node)] if isinstance(node, ast.ImportFrom) else []
        for name in named:
            heavy = next((one for one in HEAVY if name == one or name.startswith(f"{one}.")), None)
            if heavy:
                yield (
                    node.lineno,
                    f"imports {heavy} when the file is loaded, and every job of Snakemake's loads it, while planning "
                    "imports no torch. Move the import into the function that needs it.",
                )
                break


def _global_draws(tree: ast.Module) -> Iterator[Fault]:
    names = {own: full for node in ast.walk(tree) for own, full in _imported(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            own, _, rest = ast.unparse(node.func).partition(".")
            full = ".".join(filter(None, (names.get(own, own), rest)))
            remedy = _remedy(full, node, own in names)
            if remedy:
                yield (
                    node.lineno,
                    f"{ast.unparse(node.func)} draws from global randomness, which no recipe seeds. {remedy}",
                )


def _remedy(full: str, call: ast.Call, imported: bool) -> str:
    """What to do in place of a call that draws from global randomness; empty for any other call."""
    last = full.rpartition(".")[2]
    given = any(keyword.arg in ("generator", None) for keyword in call.keywords)
    if imported and (full.startswith(("random.", "numpy.random."))):
        if last in TYPES or (last in SEEDED and (call.args or call.keywords)):
            return ""
        return "Draw from the generator that it is given, or from one of a fixed seed: numpy.random.default_rng(0)."
    if imported and full.startswith("torch."):
        if last.lower().startswith(("dropout", "alpha_dropout", "alphadropout", "feature", "rrelu")):
            return "Use the keys drop and channel_drop of a method: they draw from the recipe's own seed."
        if last in SEEDING:
            return "Leave it out: the recipe seeds all generators."
        if last in DRAWING and not given:
            return "Give it generator=step.generator (of a loss), or leave it out: initial weights are drawn for you."
    if (last in IN_PLACE or (last == "bernoulli" and not imported)) and not given:
        return "Leave it out, since initial weights are drawn for you, or give it generator=step.generator (of a loss)."
    return ""

"""The export of a run's weights: for plain PyTorch, with a script that measures their test accuracy, and a README."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import atomic_path, record_of, save_tensors, write_text
from collabpipe.plan.paths import TEST
from collabpipe.plan.record_types import Epoch, EvaluationProvenance, TrainingProvenance
from collabpipe.results.finished import FinishedRun

if TYPE_CHECKING:
    from collabpipe.model.networks import StagedNetwork
    from collabpipe.model.torchvision_form import TorchvisionForm

Form = Literal["torchvision", "torchscript"]
FILES: dict[Form, str] = {"torchvision": "weights.safetensors", "torchscript": "network.pt"}
SCRIPT, CLASSES, README = "accuracy.py", "classes.txt", "README.md"


def export_weights(run: FinishedRun, folder: Path, form: Form | None, *, best: bool) -> list[str]:
    """Write the weights of a run into `folder`, and return the names of the files.

    Args:
        run: the run.
        folder: a folder that does not exist or is empty.
        form: of the weights; None: torchvision's where it can build the network, else TorchScript.
        best: whether the best epoch's weights are meant, and not the last epoch's.

    Raises:
        CollabpipeError: the folder is not empty; torchvision cannot build the network; the weights were not kept.
    """
    from collabpipe.model.torchvision_form import torchvision_form
    from collabpipe.training.checkpoint import kept_weights, load_network

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CollabpipeError(f"{folder}: exists and is not empty. Name a new folder, or remove it.")
    channels, classes = run.data["shape"][0], run.data["classes"]
    plain = torchvision_form(run.recipe.network, channels, len(classes))
    form = form or ("torchvision" if plain else "torchscript")
    if form == "torchvision" and plain is None:
        raise CollabpipeError(
            f"{run.folder}: torchvision has no network of kind {run.recipe.network.kind}. Use --format torchscript."
        )
    which = run.which(best)
    weights = kept_weights(run.folder, which, run.record)
    if form == "torchvision" and plain:
        save_tensors(folder / FILES[form], plain.weights(weights))
    else:
        plain = None
        with atomic_path(folder / FILES[form]) as temporary:
            _trace(load_network(run.recipe, weights, channels, len(classes)), run.data["shape"], temporary)
    texts = _texts(run, folder, which, plain)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [FILES[form], *texts]


def _trace(network: StagedNetwork, shape: list[int], path: Path) -> None:
    """Write the network in evaluation mode as TorchScript."""
    import torch

    with warnings.catch_warnings():
        # torch advises torch.export in its place, whose files older versions of torch do not read.
        warnings.filterwarnings("ignore", ".*torch.jit.* is deprecated", DeprecationWarning)
        torch.jit.save(torch.jit.trace(network.eval(), torch.zeros(2, *shape)), path)


def _texts(run: FinishedRun, folder: Path, which: Epoch, plain: TorchvisionForm | None) -> dict[str, str]:
    """The texts beside the weights, by the names of their files."""
    dataset, data = run.recipe.run.dataset, run.data
    test = run.paths.dataset(dataset) / TEST
    about: dict[str, object] = {
        "run": run.recipe.run,
        "which": which,
        "plain": plain,
        "dataset": dataset,
        "source": run.recipe.labels.data.source,
        "precision": run.recipe.training.precision,
        "classes": len(data["classes"]),
        **{key: data[key] for key in ("shape", "mean", "std")},
        "weights_file": FILES["torchvision" if plain else "torchscript"],
        "script_file": SCRIPT,
        "classes_file": CLASSES,
        "test_file": TEST,
        "test_digest": data["files"][TEST]["sha256"],
        "test_path": shlex.quote(os.path.relpath(test.resolve(), folder.resolve())),
        "recorded": _recorded(run, which),
        "origin": _origin(run, which),
    }
    script = _rendered("accuracy.py.jinja", about)
    return {
        SCRIPT: script,
        CLASSES: "".join(f"{name}\n" for name in data["classes"]),
        README: _rendered("README.md.jinja", {**about, "script": script}),
    }


def _rendered(template: str, about: Mapping[str, object]) -> str:
    environment = Environment(  # noqa: S701 - plain text and Python, in which nothing is to be escaped
        loader=FileSystemLoader(Path(__file__).parent / "exported"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(about)


def _recorded(run: FinishedRun, which: Epoch) -> str:
    """What the run's evaluation found, and why the script could find something else."""
    found = run.metrics[which] if run.metrics else None
    if not found:
        return "The run was not evaluated, so there is no accuracy to compare with."
    made: EvaluationProvenance = record_of(run.paths.provenance(run.paths.evaluation(run.recipe.run)))
    text = f"The run's evaluation found {found['accuracy']} (on {made.get('device', 'an unknown device')})."
    if run.record.get("kept", "all") != "all":
        text += " These weights were kept in half precision, so a few images may be classified differently."
    elif run.recipe.training.precision != "float32" or made.get("device") != "cpu":
        text += " On another device, or in bfloat16, other roundings may classify a few images differently."
    return text


def _origin(run: FinishedRun, which: Epoch) -> dict[str, object]:
    """Digests, commit and versions, by what they are of."""
    made: TrainingProvenance = record_of(run.paths.provenance(run.paths.run(run.recipe.run)))
    halved = run.record.get("kept", "all") != "all"
    before = "before they were rounded to half precision" if halved else "before the export"
    return {
        "run": run.recipe.run,
        "recipe (SHA-256)": run.recipe.digest,
        "training (SHA-256)": run.record["digest"],
        f"weights of the {which} epoch (SHA-256 of names and values, {before})": run.record["weights"][which],
        "commit of collabpipe": made.get("commit") or made.get("no_commit", "unknown"),
        "versions": ", ".join(f"{name} {version}" for name, version in made.get("packages", {}).items()) or "unknown",
        "trained on": made.get("device", "unknown"),
        "finished": made.get("finished", "unknown"),
    }

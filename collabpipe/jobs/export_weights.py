"""The export of a run's weights: for plain PyTorch, with a script that measures their test accuracy, and a README."""

from __future__ import annotations

import os
import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.files import atomic_path, record_of, save_tensors, write_text
from collabpipe.plan.file_names import TEST
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
    script = _script(run, plain)
    texts = {
        SCRIPT: script,
        CLASSES: "".join(f"{name}\n" for name in classes),
        README: _readme(run, folder, which, plain, script),
    }
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


OTHER_BUILD = """\
except RuntimeError:  # torchvision was built for another build of torch; its networks need none of its operators
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
MISMATCH = """\
If Python stops at the import of torchvision because `operator torchvision::nms does not exist`, torch and torchvision
are of different builds: install both from the same source. The script below does without."""


def _script(run: FinishedRun, plain: TorchvisionForm | None) -> str:
    """The script that measures the test accuracy."""
    mixed = ', torch.autocast("cpu", torch.bfloat16)' if run.recipe.training.precision == "bfloat16" else ""
    imports = ["import pyarrow", "import torch"]
    if plain:
        imports += ["from safetensors.torch import load_file", "from torch import nn", ""]
        imports += ["try:", f"    {plain.imports}", f"{OTHER_BUILD}    {plain.imports}"]
    body = "\n".join(_loading(plain, 'Path(__file__).parent / "{}"'))
    return f'''"""The test accuracy of {run.recipe.run}.

python {SCRIPT} PATH/TO/{TEST}
"""

import sys
from hashlib import sha256
from pathlib import Path

{chr(10).join(imports)}

{body}
{_scaling(run)}

test = Path(sys.argv[1]) if len(sys.argv) == 2 else sys.exit("usage: python {SCRIPT} PATH/TO/{TEST}")
digest = "{run.data["files"][TEST]["sha256"]}"
if not test.is_file() or sha256(test.read_bytes()).hexdigest() != digest:
    sys.exit(f"{{test}} is not the test set of this run: it has the SHA-256 {{digest}}.")
table = pyarrow.ipc.open_file(test).read_all()
images = torch.tensor(table["image"].chunk(0).flatten().to_numpy()).view(-1, {", ".join(map(str, run.data["shape"]))})
with torch.no_grad(){mixed}:
    logits = torch.cat([network(batch * scale + shift) for batch in images.split(1000)])
right = int((logits.argmax(1) == torch.tensor(table["label"].to_numpy())).sum())
print(f"test accuracy: {{right / len(logits)}} ({{right}} of {{len(logits)}})")
'''


def _loading(plain: TorchvisionForm | None, place: str) -> list[str]:
    """The lines that build the network and load its weights; `place`: how the path of a file is written."""
    if plain is None:
        return [f"network = torch.jit.load({place.format(FILES['torchscript'])})"]
    load = f"network.eval().load_state_dict(load_file({place.format(FILES['torchvision'])}), strict=True)"
    return [*plain.lines, load]


def _scaling(run: FinishedRun) -> str:
    """The lines that scale pixels as in training: the same operations on the same numbers."""
    return f"""mean, std = torch.tensor({run.data["mean"]}), torch.tensor({run.data["std"]})
scale, shift = (1 / (255 * std)).view(-1, 1, 1), (-mean / std).view(-1, 1, 1)"""


def _readme(run: FinishedRun, folder: Path, which: Epoch, plain: TorchvisionForm | None, script: str) -> str:
    name, (channels, height, width) = run.recipe.run, run.data["shape"]
    imports, needs, network = ["import torch"], "torch, numpy", "TorchScript: network and weights in one file"
    differs = ""
    if plain:
        imports += ["from safetensors.torch import load_file", "from torch import nn", plain.imports]
        needs, network = "torch, torchvision, safetensors", plain.name
        lines = "\n".join(f"- {line}" for line in plain.differs)
        differs = f"\nWhat differs from {plain.base} of torchvision:\n\n{lines}\n\n{MISMATCH}\n"
    test = run.paths.dataset(name.dataset) / TEST
    return f"""# Weights of {name}

The weights of the {which} epoch, for plain PyTorch. The package that trained them is not needed.

| file | what |
|---|---|
| `{FILES["torchvision" if plain else "torchscript"]}` | {network} |
| `{SCRIPT}` | measures the accuracy on the test set (needs {needs} and pyarrow) |
| `{CLASSES}` | the names of the {len(run.data["classes"])} classes, in the order of the network's outputs |

## Load them

```python
{chr(10).join(imports)}

{chr(10).join(_loading(plain, '"{}"'))}
```
{differs}
## Use them

The network takes floats (N, {channels}, {height}, {width}) and returns {len(run.data["classes"])} logits per image.
Pixels from 0 to 255 are scaled as in training. For one image (needs numpy and pillow as well):

```python
import numpy
from PIL import Image

{_scaling(run)}
image = Image.open("image.png").convert("{"L" if channels == 1 else "RGB"}")
smaller = {width} <= min(image.size)
image = image.resize(({width}, {height}), Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR)
pixels = torch.tensor(numpy.array(image)).view({height}, {width}, {channels}).permute(2, 0, 1)
with torch.no_grad():
    probabilities = network((pixels * scale + shift)[None]).softmax(1)
classes = open("{CLASSES}", encoding="utf-8").read().splitlines()
print(classes[probabilities.argmax()], probabilities.max())
```

`collabpipe predict` scales images in the same way. It also turns them as their EXIF data says, and puts transparent
ones on black.

## Measure their test accuracy

Run this in the folder of this file. The path is where the test set was at the export.

```
python {SCRIPT} {shlex.quote(os.path.relpath(test.resolve(), folder.resolve()))}
```

The test set is the `{TEST}` of the prepared data set `{name.dataset}`, whose SHA-256 is
`{run.data["files"][TEST]["sha256"]}`. {_recorded(run, which)}

```python
{script}```

## Where they come from

{_origin(run, which)}

The code here is under collabpipe's licence, MIT. The weights were made from the images of
the data set `{name.dataset}` (source: `{run.recipe.labels.data.source}`): its terms apply to them as well.
"""


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


def _origin(run: FinishedRun, which: Epoch) -> str:
    """A table of digests, commit and versions."""
    made: TrainingProvenance = record_of(run.paths.provenance(run.paths.run(run.recipe.run)))
    halved = run.record.get("kept", "all") != "all"
    before = "before they were rounded to half precision" if halved else "before the export"
    rows: dict[str, object] = {
        "run": run.recipe.run,
        "recipe (SHA-256)": run.recipe.digest,
        "training (SHA-256)": run.record["digest"],
        f"weights of the {which} epoch (SHA-256 of names and values, {before})": run.record["weights"][which],
        "commit of collabpipe": made.get("commit") or made.get("no_commit", "unknown"),
        "versions": ", ".join(f"{name} {version}" for name, version in made.get("packages", {}).items()) or "unknown",
        "trained on": made.get("device", "unknown"),
        "finished": made.get("finished", "unknown"),
    }
    return "\n".join(["| what | value |", "|---|---|", *(f"| {key} | `{value}` |" for key, value in rows.items())])

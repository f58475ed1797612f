"""Which operations are told to need the host, and that looking for them changes nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from collabpipe.training.checkpoint import weights_digest
from collabpipe.training.host_reads import HostReads
from tests.gpu.recipes import begin, recipes
from tests.gpu.test_training import REPRESENTATIVES, trained
from tests.workspaces import REPOSITORY

NUMBERS = torch.tensor([3.0, -1.0, 2.0])
MASK = NUMBERS > 0
NUMBERED = dict(enumerate(Path(__file__).read_text(encoding="utf-8").splitlines(), start=1))


class ReadsInBackward(torch.autograd.Function):
    """A sum whose slope looks at a value."""

    @staticmethod
    def forward(_: object, numbers: Tensor) -> Tensor:
        return numbers.sum()

    @staticmethod
    def backward(_: object, slope: Tensor) -> Tensor:
        return slope.expand(3) if slope.item() else slope.new_zeros(3)


def filled(value: float | Tensor) -> None:
    NUMBERS.clone()[MASK] = value


def backward(loss: Callable[[Tensor], Tensor]) -> None:
    loss(NUMBERS.clone().requires_grad_()).backward()


@pytest.mark.parametrize(
    ("operation", "work"),
    [
        ("_local_scalar_dense", lambda: NUMBERS[0].item()),
        ("_local_scalar_dense", lambda: bool(MASK.any())),
        ("equal", lambda: torch.equal(NUMBERS, NUMBERS)),
        ("nonzero", lambda: torch.where(MASK)),
        ("masked_select", lambda: NUMBERS.masked_select(MASK)),
        ("_unique2", NUMBERS.unique),
        ("index", lambda: NUMBERS[MASK]),
        ("index_put_", lambda: filled(NUMBERS[:2])),
        ("_to_copy", lambda: NUMBERS.to("meta")),
        ("copy_", lambda: torch.empty(3, device="meta").copy_(NUMBERS)),
        ("_local_scalar_dense", lambda: backward(ReadsInBackward.apply)),
    ],
)
def test_an_operation_that_needs_the_host_is_found_with_its_line(operation: str, work: Callable[[], object]) -> None:
    with HostReads() as reads:
        work()

    assert len(reads.found) == 1
    line = reads.found[0].removeprefix(f"{__file__}, line ").removesuffix(f", needs the host (aten.{operation})")
    # That of `work`, or of the function that it calls.
    assert NUMBERED[int(line)].strip().startswith(("(", "work()", "NUMBERS.clone()[MASK]", "return slope.expand(3)"))


@pytest.mark.parametrize(
    "work",
    [
        lambda: NUMBERS[torch.tensor([2, 0])],
        lambda: torch.where(MASK, NUMBERS, 0.0),
        lambda: filled(0.0),
        lambda: NUMBERS.double(),
        lambda: torch.empty(3).copy_(NUMBERS),
        lambda: backward(torch.sum),
    ],
)
def test_what_stays_on_the_device_is_not(work: Callable[[], object]) -> None:
    with HostReads() as reads:
        work()

    assert reads.found == []


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", REPRESENTATIVES)
def test_no_method_needs_the_host_and_looking_changes_no_bit(
    method: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipes("resnet8", precision)[method]
    unseen = trained(begin(asked, torch.device("cpu")))
    seen = begin(asked, torch.device("cpu"))
    reads = HostReads()
    update = seen._update

    def look(*arguments: Any) -> Tensor:
        with reads:
            return update(*arguments)

    monkeypatch.setattr(seen, "_update", look)
    # PyTorch's own looks at its numbers on a CPU, and does not on a GPU.
    monkeypatch.setattr(
        functional, "one_hot", lambda labels, classes: (labels[:, None] == torch.arange(classes)).long()
    )
    trained(seen)

    assert reads.found == []
    assert weights_digest(seen.method.state_dict()) == weights_digest(unseen.method.state_dict())


def test_looking_does_not_import_the_compiler() -> None:
    program = (
        "import sys, torch\n"
        "from collabpipe.training.host_reads import HostReads\n"
        "with HostReads() as reads:\n    torch.ones(3)[0].item()\n"
        "print(len(reads.found), 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    assert done.stdout == "1 False\n"

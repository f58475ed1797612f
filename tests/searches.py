"""A searched study: two candidates, and a method that builds on the choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from collabpipe.common.files import read_json
from tests.workspaces import Workspace, altered

NAMES = ("digits", "symmetric-0.5", "resnet8")
WEIGHTS = [0.1, 5.0]
# Two candidates of one seed; the combination builds on the choice, output and baseline do not.
STUDY = altered(
    {
        "methods": {
            "output_control": None,
            "kernel": {"weight": WEIGHTS, "learning_rate": 0.05, "select": {"seeds": [7]}},
            "combined": {"of": "output+kernel", "factor": 1},
        },
        "seeds": [0],
        "training": {"epochs": 1},
        "execution": {"keep_weights": "half"},
    }
)


def with_weights(*weights: float) -> dict[str, Any]:
    """The study with other values to choose from."""
    return altered({"methods": {"kernel": {"weight": list(weights)}}}, STUDY)


def candidate_run(number: int) -> str:
    """The name of a candidate's run."""
    return f"{'/'.join(NAMES)}/kernel.candidate{number}/seed7"


class Searched(Workspace):
    """A searched study's folder."""

    @property
    def choice_file(self) -> Path:
        return self.plan.paths.choice(*NAMES, "kernel")

    @property
    def choice(self) -> dict[str, Any]:
        choice: dict[str, Any] = read_json(self.choice_file)
        return choice

    def candidate(self, number: int) -> dict[str, Any]:
        record: dict[str, Any] = read_json(self.plan.paths.run(candidate_run(number)) / "record.json")
        return record

    def weights(self) -> dict[str, float]:
        """The kernel term's weight that each run was trained with."""
        records = self.records().values()
        return {r["run"]["method"]: r["composition"]["terms"][-1]["weight"] for r in records if "composition" in r}

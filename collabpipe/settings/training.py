"""How networks are built and trained, and how jobs are cut and saved."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from collabpipe.catalogue.stages import LAYOUTS, Stages
from collabpipe.common.validation import Among, Fraction, Positive, Strict, Weight


class NetworkSettings(Strict):
    """A network in its small-image form."""

    kind: Annotated[str, Among(LAYOUTS)]
    width: int | None = Field(default=None, ge=4, le=256)
    """Channels of the first stage (of densenet40: its growth rate); None: those of the published network."""

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of its stages."""
        return LAYOUTS[self.kind].names

    def stages_of(self, pixels: int, batch: int) -> Stages:
        """Its stages in a training on images of `pixels` a side, `batch` at a time."""
        return Stages.of(self.kind, self.width, pixels, batch)


class TrainingSettings(Strict):
    """The recipe's share of training, equal for all methods of a study."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(default=128, ge=3)
    """The most images per step: an epoch is cut into as few batches as hold them all, of sizes at most one apart. (Of
    3 at least: an odd number of images in pairs would leave a batch of one, which has no batch statistics.)"""
    learning_rate: Positive = 0.1
    momentum: Fraction = 0.9
    nesterov: bool = True
    weight_decay: Weight = 5e-4
    schedule: Literal["cosine", "steps"] = "cosine"
    milestones: tuple[Annotated[float, Field(gt=0.0, lt=1.0)], ...] = (0.3, 0.6, 0.8)
    """Shares of training at which `steps` divides the rate by 5."""
    measure_every: int = Field(default=1, ge=1)
    """Epochs between two measurements of validation accuracy and memorisation."""
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    """Have torch.compile fuse the stages' operations: other roundings, a minute at the start, faster steps on a GPU."""
    threads: int = Field(default=1, ge=1)


class ExecutionSettings(Strict):
    """How jobs are cut and saved; it changes no result and is in no recipe."""

    seeds_per_job: int = Field(default=1, ge=1)
    save_seconds: Annotated[float, Field(ge=0.0)] = 30.0
    """Time between two saved states, if saving then takes no more than 2% of it; 0: every epoch, whatever it takes."""
    save_epochs: int | None = Field(default=None, ge=1)
    """Epochs between two saved states, where they pass sooner than that time."""
    jobs_per_gpu: int = Field(default=1, ge=0)
    """Trainings that may share a GPU of a host without a scheduler; 0: no job asks for a GPU or uses one."""
    trainings_at_once: int = Field(default=1, ge=1)
    """Trainings that a job of several seeds runs at the same time in its one process; small ones then fill a GPU."""
    stage: str | None = None
    """A folder on each host's own disk that trainings copy the images to, such as $TMPDIR."""
    keep_weights: Literal["all", "half", "none"] = "all"
    """What stays of a run's weights once it is evaluated: last and best epoch, the last in half precision, nothing."""
    overhead_seconds: Positive = 10.0
    """Time to spend on the overhead of each network's methods; at least five rounds are timed."""
    offline: bool = False
    """Ask no server for a data set."""

    def block(self, seed: int) -> int:
        """The job that a seed's run shares: it does not change when other seeds come or go."""
        return seed // self.seeds_per_job

"""How networks are built and trained, and how jobs are cut and saved."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from collabpipe.catalogue.stages import LAYOUTS, Stages
from collabpipe.common.validation import Among, Fraction, Positive, ProperFraction, Strict, Weight


class NetworkSettings(Strict):
    """A network in its small-image form."""

    kind: Annotated[str, Among(LAYOUTS)]
    """Which network (docs/networks.md). Default: the name that the study gives it."""
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
    """Length of every training. The last epoch is the headline."""
    batch_size: int = Field(default=128, ge=3)
    """The most images per step: an epoch is cut into as few batches as hold them all, of sizes at most one apart
    (10,000 images: 46 batches of 127 and 33 of 126). Of 3 at least: an odd number of images in pairs would leave a
    batch of one, which has no batch statistics."""
    learning_rate: Positive = 0.1
    """The initial learning rate."""
    momentum: Fraction = 0.9
    """Momentum of SGD."""
    nesterov: bool = True
    """Whether the momentum is Nesterov's."""
    weight_decay: Weight = 5e-4
    """Applied to all parameters."""
    schedule: Literal["cosine", "steps"] = "cosine"
    """How the learning rate falls: half a cosine towards 0, updated each epoch; or divided by 5 at each milestone."""
    milestones: tuple[ProperFraction, ...] = (0.3, 0.6, 0.8)
    """Shares of training at which `steps` divides the rate by 5."""
    measure_every: int = Field(default=1, ge=1)
    """Epochs between two measurements of validation accuracy and memorisation. The last epoch is always measured. The
    best epoch is one of the measured epochs."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: mixed precision."""
    compile: bool = False
    """Have torch.compile fuse the stages' operations: other roundings, a minute at the start, faster steps on a GPU."""
    threads: int = Field(default=1, ge=1)
    """Threads per training. Part of the recipe, because their number can change the last bits."""


class ExecutionSettings(Strict):
    """How jobs are cut and saved; it changes no result and is in no recipe."""

    seeds_per_job: int = Field(default=1, ge=1)
    """Number n of seeds that share a process: seeds 0 to n-1, n to 2n-1, and so on."""
    save_seconds: Annotated[float, Field(ge=0.0)] = 30.0
    """Seconds between two saved states; longer if saving would take more than 2% of the time. 0: after every epoch,
    whatever it takes."""
    save_epochs: int | None = Field(default=None, ge=1)
    """Epochs between two saved states, if these pass sooner than `save_seconds`. None: no such limit."""
    jobs_per_gpu: int = Field(default=1, ge=0)
    """Jobs that may share a GPU of a host without a scheduler. With 2 on four GPUs, use `--resources gpu=8`. 0: no job
    asks for a GPU or uses one."""
    trainings_at_once: int = Field(default=1, ge=1)
    """Trainings that a job of several seeds (`seeds_per_job`) runs at the same time in its one process; small ones then
    fill a GPU. Each training gives the same bits as alone."""
    cuda_graphs: bool = True
    """Run training steps on a GPU as CUDA graphs: the same bits, faster. False: for a step that a graph cannot hold and
    that is not recognised as such."""
    stage: str | None = None
    """A folder on each host's own disk, such as $TMPDIR: the images are copied there once, and trainings read the copy.
    None: no copy."""
    keep_weights: Literal["all", "half", "none"] = "all"
    """What stays of a run's weights once it is evaluated. `all`: those of the last and the best epoch. `half`: those of
    the last epoch, in half precision. `none`: nothing. Except with `all`, candidates keep no weights.
    `test_on` needs `all`."""
    overhead_seconds: Positive = 10.0
    """Seconds to spend on the overhead of each network's methods; at least five rounds are timed."""
    offline: bool = False
    """Ask no server for a data set. If one is missing, the error says which files to put where."""

    def block(self, seed: int) -> int:
        """The job that a seed's run shares: it does not change when other seeds come or go."""
        return seed // self.seeds_per_job

import os
from pathlib import Path

from collabpipe.errors import CollabpipeError
from collabpipe.occupancy import occupy
from collabpipe.paths import FIGURE_FILES, OVERHEAD_FILES, TABLE_FILES
from collabpipe.plan import Plan
from collabpipe.settle import settle
from collabpipe.workflow import Workflow

try:
    PLAN = Plan.from_config(
        config, workflow.configfiles or workflow.overwrite_configfiles
    )
    # Jobs parse this file again; only the main process may set what exists against what is asked for.
    if workflow.is_main_process:
        occupy(PLAN.paths.root)
        settle(PLAN)
except (CollabpipeError, OSError) as error:
    raise WorkflowError(str(error))

FILES = Workflow(PLAN)
PATHS = PLAN.paths
LOGS = PATHS.logs
BENCHMARKS = PATHS.benchmarks
# Where SLURM tracks processes by cgroups it signals the leaders of steps alone: a training is a step of its own. Where it
# tracks them by parents all processes of a step get the signal, and an srun among them would kill what it started.
SIGNALLED = "SLURM_STEP_ID" in os.environ and (
    "slurm" not in Path("/proc/self/cgroup").read_text()
)
STEP = (
    "srun --overlap -n1 -c{threads} --cpu-bind=q --mem=0 ${{CUDA_VISIBLE_DEVICES:+--gpus=1}} "
    if "SLURM_JOB_ID" in os.environ and not workflow.is_main_process and not SIGNALLED
    else ""
)
CELL = "{dataset}/{noise}/{network}/{method}"


wildcard_constraints:
    dataset="[^/]+",
    noise="[^/]+",
    network="[^/]+",
    method="[^/]+",
    seed=r"\d+",

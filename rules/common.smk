from collabpipe.errors import CollabpipeError
from collabpipe.occupancy import occupy
from collabpipe.paths import FIGURE_FILES, OVERHEAD_FILES, TABLE_FILES
from collabpipe.plan import Plan
from collabpipe.reconcile import check_own_files
from collabpipe.settle import settle
from collabpipe.workflow import Workflow, slurm_step

try:
    PLAN = Plan.from_config(
        config, workflow.configfiles or workflow.overwrite_configfiles
    )
    # Jobs parse this file again; only the main process may set what exists against what is asked for.
    if workflow.is_main_process:
        occupy(PLAN.paths.root)
        check_own_files(PLAN, settle(PLAN))
except (CollabpipeError, OSError) as error:
    raise WorkflowError(str(error))

FILES = Workflow(PLAN)
PATHS = PLAN.paths
LOGS = PATHS.logs
BENCHMARKS = PATHS.benchmarks
STEP = "" if workflow.is_main_process else slurm_step()
CELL = "{dataset}/{noise}/{network}/{method}"


wildcard_constraints:
    dataset="[^/]+",
    noise="[^/]+",
    network="[^/]+",
    method="[^/]+",
    seed=r"\d+",

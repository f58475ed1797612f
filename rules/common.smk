from pathlib import Path

from collabpipe.errors import CollabpipeError
from collabpipe.joblines import shorten_job_lines
from collabpipe.occupancy import occupy
from collabpipe.paths import OVERHEAD_FILES, TABLE_FILES, Paths
from collabpipe.plan import Plan
from collabpipe.prune import left_over
from collabpipe.reconcile import check_own_files
from collabpipe.settle import settle
from collabpipe.workflow import Workflow, for_all_blocks, missing_rules, slurm_step

# The commands and settling must know where a module's `prefix` puts the results. So it is in all paths from the start,
# and Snakemake does not put it before them again.
MODIFIER = workflow.modifier
ROOT = Path(MODIFIER.modify_path(str(Paths().recipes))).parent
MODIFIER.path_modifier.skip_properties |= {"input", "output", "log", "benchmark"}

try:
    PLAN = Plan.from_config(
        config,
        workflow.configfiles or workflow.overwrite_configfiles,
        workflow.config_settings.config,
        ROOT,
        MODIFIER.namespace,
    )
    # Jobs parse this file again; only the main process may set what exists against what is asked for.
    if workflow.is_main_process:
        shorten_job_lines(logger, workflow.logger_manager.settings.quiet or ())
        occupy(PLAN.paths.root)
        check_own_files(PLAN, settle(PLAN))
        if left := left_over(PLAN):
            logger.info(left)
except (CollabpipeError, OSError) as error:
    raise WorkflowError(str(error))

FILES = Workflow(PLAN)
PATHS = PLAN.paths
LOGS = PATHS.logs
BENCHMARKS = PATHS.benchmarks
STEP = "" if workflow.is_main_process else slurm_step()
CELL = "{dataset}/{noise}/{network}/{method}"
OVERRIDES = workflow.resource_settings
for_all_blocks(
    OVERRIDES._parsed_overwrite_resources, FILES.blocks, MODIFIER.modify_rulename
)
for_all_blocks(
    OVERRIDES._parsed_overwrite_threads, FILES.blocks, MODIFIER.modify_rulename
)


# Contents decide what is made again, and times tell Snakemake (collabpipe/settle.py): a file that is made newer says
# so, though its contents are equal to those that Snakemake remembers. So Snakemake must not compare checksums, whatever
# the profile. This can be set only once its graph exists, when it asks for the inputs, which all begin with a data set.
def data_recipe(wildcards):
    workflow.dag.max_checksum_file_size = 0
    return FILES.recipe_file(PLAN.data[wildcards.dataset])


wildcard_constraints:
    dataset="[^/]+",
    noise="[^/]+",
    network="[^/]+",
    method="[^/]+",
    seed=r"\d+",

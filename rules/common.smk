from pathlib import Path

from collabpipe.common.errors import CollabpipeError
from collabpipe.common.job_lines import explain_failures, shorten_job_lines
from collabpipe.host.results_lock import occupy
from collabpipe.plan.paths import Paths
from collabpipe.plan.plan import Plan
from collabpipe.results.workflow import (
    CELL,
    Workflow,
    check_dvc_stage,
    for_all_blocks,
    missing_rules,
    slurm_step,
)
from collabpipe.results.earlier import take_over
from collabpipe.results.prune import left_over
from collabpipe.results.state import check_files
from collabpipe.results.timestamps import settle

# The commands and settling must know where a module's `prefix` puts the results. So all paths contain the prefix from
# the start, and Snakemake must not add it again.
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
    # Jobs parse this file again, but only the main process may settle times.
    if workflow.is_main_process:
        shorten_job_lines(logger, workflow.logger_manager.settings.quiet or ())
        explain_failures(logger, ROOT, PLAN.paths.status)
        check_dvc_stage(PLAN)
        if moved := take_over(PLAN):
            logger.info(moved)
        occupy(PLAN.results)
        check_files(PLAN, settle(PLAN))
        if left := left_over(PLAN):
            logger.info(left)
except (CollabpipeError, OSError) as error:
    raise WorkflowError(str(error))

FILES = Workflow(PLAN)
PATHS = PLAN.paths
STEP = "" if workflow.is_main_process else slurm_step()
OVERRIDES = workflow.resource_settings
for_all_blocks(
    OVERRIDES._parsed_overwrite_resources, FILES.blocks, MODIFIER.modify_rulename
)
for_all_blocks(
    OVERRIDES._parsed_overwrite_threads, FILES.blocks, MODIFIER.modify_rulename
)


# collabpipe compares contents to decide what is made again, and tells Snakemake by setting times
# (collabpipe/results/timestamps.py). A recipe can become newer although its contents are those that Snakemake
# remembers. So Snakemake must not compare checksums, whatever the profile says. The limit can be set only once
# Snakemake's graph exists. The graph exists when Snakemake asks for inputs, and all chains of inputs begin with a data
# set.
def data_recipe(wildcards):
    workflow.dag.max_checksum_file_size = 0
    return FILES.recipes("prepare_dataset/{dataset}", **wildcards)


wildcard_constraints:
    dataset="[^/]+",
    noise="[^/]+",
    network="[^/]+",
    method="[^/]+",
    seed=r"\d+",
    test_set="[^/]+",

# A reproduction of intra-model collaborative learning: data, noisy labels, training, evaluation, tables.
#
#   snakemake --cores all                                        the default study
#   snakemake --cores all --configfile config/fashion.yaml       another study
#   snakemake --cores all --resources gpu=4                      on a machine with four GPUs
#   snakemake --cores 2 -- labels                                only up to one target
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")


# A study given by --configfile replaces the default study. The two are not merged.
if not workflow.overwrite_configfiles:
    # The configuration of the working folder, or the one beside this file if the working folder has none.
    DEFAULT = Path("config/config.yaml")
    BESIDE = workflow.current_basedir.join(DEFAULT).get_path_or_uri(secret_free=True)

    configfile: str(DEFAULT) if DEFAULT.exists() else BESIDE


report: "rules/report/workflow.rst"


include: "rules/common.smk"
include: "rules/datasets.smk"
include: "rules/noise.smk"
include: "rules/train.smk"
include: "rules/select.smk"
include: "rules/evaluate.smk"
include: "rules/tables.smk"


rule all:
    default_target: True
    input:
        rules.tables.input,
        rules.report.input,


# Snakemake silently ignores settings for a rule that does not exist, so this warns about them.
if MODIFIER.is_main_snakefile() and workflow.is_main_process:
    SET = {*OVERRIDES.overwrite_resources, *OVERRIDES.overwrite_threads}
    hint = missing_rules(SET, (rule.name for rule in workflow.rules))
    if hint:
        logger.warning(hint)

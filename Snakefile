# Intra-model collaborative learning, reproduced: data, noisy labels, training, evaluation, tables.
#
#   snakemake --cores all                                        the default study
#   snakemake --cores all --configfile config/fashion.yaml       another one
#   snakemake --cores all --resources gpu=4                      on a machine with four GPUs
#   snakemake --cores 2 labels                                   as far as one target
from snakemake.utils import min_version

min_version("9.27")


# Another study replaces the default one; the two are not merged key by key.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


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

"""The names of the files below the results folder. `paths` says in which folders they lie."""

from __future__ import annotations

from collabpipe.plan.figures import FIGURES

RECORD = "record.json"

FETCHED = "fetched.json"
TRAIN, TEST, ANNOTATIONS = "train.arrow", "test.arrow", "annotations.parquet"
LABEL_INPUTS = (TRAIN, ANNOTATIONS)
DATA_FILES = (TRAIN, TEST, ANNOTATIONS, RECORD)

STATE_FILE = "state.safetensors"
"""Of a training that is under way, in its writer's folder."""
PROGRESS_FILE = "progress.json"
"""The same: how far it is."""
RESULT_FILE, ASKED_FILE = "result.json", "asked.json"
"""Of a result in the store: what it is, written last; of a training, the recipe that it was first made for."""

HISTORY = "history.parquet"
WEIGHTS = {"last": "last.safetensors", "best": "best.safetensors"}
TRAINING_FILES = (*WEIGHTS.values(), HISTORY)
CHECKPOINT_FILES = (*TRAINING_FILES, RECORD)

PREDICTIONS, METRICS = "predictions.parquet", "metrics.json"
EVALUATION_FILES = (PREDICTIONS, METRICS)

OVERHEAD_CSV, OVERHEAD_MD, OVERHEAD_RECORD = "overhead.csv", "overhead.md", "overhead.json"
OVERHEAD_FILES = (OVERHEAD_CSV, OVERHEAD_MD, OVERHEAD_RECORD)

MAIN_CSV, MAIN_MD, MAIN_TEX = "main.csv", "main.md", "main.tex"
RUNS_TABLE = "runs.parquet"
CLAIMS_CSV, CLAIMS_MD, CLAIMS_JSON = "claims.csv", "claims.md", "claims.json"
NOISE_CSV = "noise.csv"
ROBUSTNESS_CSV, ROBUSTNESS_MD = "robustness.csv", "robustness.md"
VARIANCE_CSV, VARIANCE_MD = "variance.csv", "variance.md"
SUMMARY_JSON = "summary.json"
TABLE_FILES = (
    MAIN_CSV,
    MAIN_MD,
    MAIN_TEX,
    RUNS_TABLE,
    CLAIMS_CSV,
    CLAIMS_MD,
    CLAIMS_JSON,
    NOISE_CSV,
    ROBUSTNESS_CSV,
    ROBUSTNESS_MD,
    VARIANCE_CSV,
    VARIANCE_MD,
    SUMMARY_JSON,
    RECORD,
)

FIGURE_FILES = (*(name for figure in FIGURES for name in figure.files), RECORD)
REPORT_PAGE, REPORT_RECORD = "report.html", "report.json"
REPORT_FILES = (REPORT_PAGE, REPORT_RECORD)

"""Scores of predictions, mostly in numpy: scikit-learn takes longer to import than a small run to evaluate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS = 15


def score(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """Metrics of probabilities (N, K) for labels (N,): shares in [0, 1], negative log-likelihood in nats.

    Of two classes also the area under the ROC curve, the second class (in alphabetical order of folders) positive.
    """
    predictions = probabilities.argmax(1)
    likelihood = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    metrics = {
        "accuracy": float((predictions == labels).mean()),
        "negative_log_likelihood": float(-np.log(np.maximum(likelihood, 1e-12)).mean()),
        "expected_calibration_error": calibration_error(probabilities, labels),
        "class_entropy": class_entropy(predictions, probabilities.shape[1]),
    }
    if probabilities.shape[1] == 2 and len(np.unique(labels)) == 2:
        from sklearn.metrics import roc_auc_score  # seconds to import, which other data sets need not wait for

        metrics["auc"] = float(roc_auc_score(labels, probabilities[:, 1]))
    if probabilities.shape[1] >= 100:
        top = np.argpartition(-probabilities, 4, axis=1)[:, :5]
        metrics["top5_accuracy"] = float((top == labels[:, None]).any(1).mean())
    return metrics


def calibration_error(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Expected calibration error over 15 equal bins of confidence (Guo et al., 2017)."""
    confidence = probabilities.max(1).astype(np.float64)
    hits = (probabilities.argmax(1) == labels).astype(np.float64)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, hits - confidence, CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(labels))


def class_entropy(predictions: NDArray[np.int64], classes: int) -> float:
    """Entropy (nats) of the distribution of predicted classes: log K if all are named equally often, 0 if one is."""
    shares = np.bincount(predictions, minlength=classes) / len(predictions)
    named = shares[shares > 0]
    return float(-(named * np.log(named)).sum())


def is_collapsed(probabilities: NDArray[np.float32]) -> bool:
    """Whether fewer than half of the classes are in use: exp(entropy of the predicted classes) < K/2."""
    classes = probabilities.shape[1]
    return bool(math.exp(class_entropy(probabilities.argmax(1), classes)) < classes / 2 - 1e-9)

"""Scores of predictions, mostly in numpy: scikit-learn takes longer to import than a small run to evaluate.

They are computed from the logits: float32 probabilities near 0 and 1 are rounded to one number, and ranks and
likelihoods are lost with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS = 15


def score(
    logits: NDArray[np.float32], labels: NDArray[np.int64], groups: Sequence[str] | None = None
) -> dict[str, float] | None:
    """Metrics of logits (N, K) for labels (N,): shares in [0, 1], negative log-likelihood in nats.

    With the groups (N,) of the images, such as videos, also `group_scores`.

    Of two classes also the area under the ROC curve, the second class (in alphabetical order of folders) positive;
    images are ranked by the difference of their two logits. None where there are no logits or one is not finite: such
    predictions have no score.
    """
    if not (logits.size and np.isfinite(logits).all()):
        return None
    predictions = logits.argmax(1)
    top = logits.max(1).astype(np.float64)
    exponentials = np.subtract(logits, top[:, None], dtype=np.float64)
    total = np.exp(exponentials, out=exponentials).sum(1)  # of exp(logit - top): between 1 and K
    likelihood = logits[np.arange(len(labels)), labels] - top - np.log(total)
    metrics = {
        "accuracy": float((predictions == labels).mean()),
        "negative_log_likelihood": float(-likelihood.mean()),
        "expected_calibration_error": calibration_error(1.0 / total, predictions == labels),
        "class_entropy": class_entropy(predictions, logits.shape[1]),
    }
    if logits.shape[1] == 2 and len(np.unique(labels)) == 2:
        from sklearn.metrics import roc_auc_score  # seconds to import, which other data sets need not wait for

        metrics["auc"] = float(roc_auc_score(labels, np.subtract(logits[:, 1], logits[:, 0], dtype=np.float64)))
    if logits.shape[1] >= 100:
        best = np.argpartition(-logits, 4, axis=1)[:, :5]
        metrics["top5_accuracy"] = float((best == labels[:, None]).any(1).mean())
    return metrics if groups is None else metrics | group_scores(logits, labels, groups)


def group_scores(logits: NDArray[np.float32], labels: NDArray[np.int64], groups: Sequence[str]) -> dict[str, float]:
    """The accuracy of groups of images and, of two classes, their area under the ROC curve, as `score` has images'.

    A group's probabilities are the means of its images'. Nothing where a group has images of several classes, as it
    has no label then.

    Args:
        logits: (N, K).
        labels: (N,).
        groups: (N,), the name of each image's group.
    """
    _, first, group = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    if (labels != labels[first][group]).any():
        return {}
    shares = np.exp(np.subtract(logits, logits.max(1, keepdims=True), dtype=np.float64))
    shares /= shares.sum(1, keepdims=True)
    means = np.stack([np.bincount(group, share) for share in shares.T], axis=1) / np.bincount(group)[:, None]
    # Logarithms, as a mean next to 1 is rounded to 1; what a double cannot hold counts as its smallest number.
    found = score(np.log(np.maximum(means, np.finfo(np.float64).tiny)), labels[first]) or {}
    return {"groups": len(first)} | {f"group_{name}": found[name] for name in ("accuracy", "auc") if name in found}


def calibration_error(confidence: NDArray[np.float64], hits: NDArray[np.bool_]) -> float:
    """Expected calibration error over 15 equal bins of confidence (Guo et al., 2017).

    confidence: (N,) probability of the predicted class, in [0, 1]; hits: (N,) whether it is the label.
    """
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, hits - confidence, CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(hits))


def class_entropy(predictions: NDArray[np.int64], classes: int) -> float:
    """Entropy (nats) of the distribution of predicted classes: log K if all are named equally often, 0 if one is."""
    shares = np.bincount(predictions, minlength=classes) / len(predictions)
    named = shares[shares > 0]
    return float(-(named * np.log(named)).sum())


def is_collapsed(logits: NDArray[np.float32]) -> bool:
    """Whether fewer than half of the classes are in use: exp(entropy of the predicted classes) < K/2."""
    classes = logits.shape[1]
    return bool(math.exp(class_entropy(logits.argmax(1), classes)) < classes / 2 - 1e-9)

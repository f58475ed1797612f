"""Measurements in evaluation mode: accuracy on validation, memorisation of flipped labels, collapse."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from collabpipe.training.batches import Pixels
from collabpipe.training.scores import class_entropy

MEASURE_BATCH = 1000


@torch.no_grad()
def predict(network: nn.Module, pixels: Pixels, precision: str = "float32", batch: int = MEASURE_BATCH) -> Tensor:
    """Logits (N, K), float32, in evaluation mode, `batch` images at a time; the network's mode is restored."""
    training = network.training
    network.eval()
    with torch.autocast(pixels.images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        parts = [network(pixels.normalise(part)).float() for part in pixels.split(batch)]
    network.train(training)
    return torch.cat(parts)


@dataclass(frozen=True)
class Measured:
    """The measurements of an epoch, as history columns."""

    validation_accuracy: float
    clean_accuracy: float
    memorised: float
    flipped_accuracy: float
    class_entropy: float


@dataclass(frozen=True)
class Probe:
    """What is measured on: validation and training images with their labels on the device."""

    validation: Pixels
    validation_labels: Tensor
    training: Pixels
    noisy: Tensor
    clean: Tensor
    classes: int
    precision: str

    def measure(self, network: nn.Module) -> Measured:
        """Accuracies in [0, 1]; a share of nothing is nan.

        validation_accuracy: against the noisy labels of the validation split. clean_accuracy: on training images
        whose label is right. memorised: flipped training images predicted as their wrong label. flipped_accuracy:
        flipped training images predicted as what they are.
        """
        seen = predict(network, self.validation, self.precision).argmax(1)
        trained = predict(network, self.training, self.precision).argmax(1)
        flipped = self.noisy != self.clean
        return Measured(
            validation_accuracy=_share(seen == self.validation_labels),
            clean_accuracy=_share((trained == self.noisy)[~flipped]),
            memorised=_share((trained == self.noisy)[flipped]),
            flipped_accuracy=_share((trained == self.clean)[flipped]),
            class_entropy=class_entropy(seen.cpu().numpy(), self.classes) if len(seen) else float("nan"),
        )


def _share(hits: Tensor) -> float:
    return float(hits.double().mean()) if len(hits) else float("nan")

"""The figures of a study by name: what each one is called and says. Nothing here draws."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FigureKind:
    """A figure that each study has."""

    name: str
    """Of its files, and of the module that draws it."""
    title: str
    caption: str

    @property
    def svg(self) -> str:
        """Its file for pages."""
        return f"{self.name}.svg"

    @property
    def png(self) -> str:
        """Its file for papers."""
        return f"{self.name}.png"

    @property
    def files(self) -> tuple[str, str]:
        """Its file names."""
        return self.svg, self.png


FIGURES = (
    FigureKind(
        "accuracy",
        "Accuracy against noise rate",
        "Test accuracy at the last epoch against the true share of wrong labels: means over replicates with 95% t "
        "intervals. Methods of one rate are drawn side by side.",
    ),
    FigureKind(
        "differences",
        "Differences",
        "Differences in test accuracy at the last epoch to the baseline, the matched control and the rival, with 95% t "
        "intervals. All panels of one noise have the same scale.",
    ),
    FigureKind(
        "curves",
        "Learning and memorisation",
        "Accuracy on the noisy validation labels, and the share of flipped training labels that the network fits, per "
        "epoch: means over replicates, with bands from the lowest to the highest. The axes fit the last three quarters "
        "of the epochs. A cross marks the epoch at which a run diverged.",
    ),
    FigureKind(
        "seen_through",
        "Flipped labels: memorised or seen through",
        "Of the flipped training labels, the share that the network fits at the last epoch, and the share for which it "
        "predicts the true class: means over replicates, with lines from the lowest to the highest.",
    ),
    FigureKind(
        "overhead",
        "Overhead",
        "Test accuracy at the last epoch against the seconds of a training step, divided by those of the baseline. The "
        "colour and the number behind each name are the peak memory, divided by that of the baseline.",
    ),
    FigureKind(
        "reliability",
        "Reliability",
        "Accuracy of the test images against the confidence of the prediction, in ten bins, over up to five "
        "replicates. Below the diagonal a network is too confident. Bins with fewer than ten predictions are left out.",
    ),
    FigureKind(
        "robustness",
        "Robustness",
        "Test accuracy at the last epoch against the severity of corruptions: the mean over the corruptions that the "
        "study names, then over replicates, with 95% t intervals. Severity 0 are the data set's own test images.",
    ),
    FigureKind(
        "classes",
        "Accuracy per class",
        "Test accuracy at the last epoch per true class and method, in percent, over up to five replicates.",
    ),
    FigureKind(
        "terms",
        "What each loss term lowers",
        "Each loss term before its weight, per epoch: means over replicates, with bands from the lowest to the "
        "highest. Only methods that train with the term have it.",
    ),
    FigureKind(
        "kernels",
        "Similarity of the kernels",
        "Gram matrices of the convolution with the most kernels larger than 1×1: cosines, without signs, between the "
        "first 64 kernels. From the last epoch's weights of each method's first replicate whose weights are kept.",
    ),
    FigureKind(
        "representations",
        "Similarity of the representations",
        "Gram matrices of the features that the loss on representations acts on, behind the last of its stages: "
        "cosines, without signs, between the first 64 channels, as the loss takes them, over the first 256 test "
        "images. From the last epoch's weights of each method's first replicate whose weights are kept: at most ten "
        "rows.",
    ),
    FigureKind(
        "transitions",
        "Label noise",
        "Which labels each class has after the noise in the first replicate, with the true share of wrong labels.",
    ),
    FigureKind(
        "corrupted",
        "Images with corrupted labels",
        "Training images whose labels the noise changed in the first replicate, one per class: the true class, and the "
        "label that was given.",
    ),
    FigureKind(
        "seen_images",
        "Flipped labels that are seen through",
        "Training images with a flipped label for which a method predicts the true class at the last epoch: the true "
        "class, and the wrong label that it was trained on. First come images that the baseline memorises, one per "
        "class. From the first replicate of which most methods' weights are kept: at most 24 rows, and at most 1,000 "
        "flipped images, evenly spaced, in each.",
    ),
    FigureKind(
        "wrong",
        "Test images that all methods get wrong",
        "Test images that no method classifies correctly in any of up to five replicates: their label, and what is "
        "predicted most often.",
    ),
)
"""All figures, in the order in which pages show them."""

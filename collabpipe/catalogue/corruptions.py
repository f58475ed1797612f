"""The corruptions of Hendrycks and Dietterich (2019): the figures of each severity, and the smallest images.

The figures are those behind CIFAR-10-C, from the authors' code (github.com/hendrycks/robustness,
ImageNet-C/create_c/make_cifar_c.py). They are meant for images of 32 pixels a side.
"""

from __future__ import annotations

from dataclasses import dataclass

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """A corruption of images.

    figures: what its function in `data.corruptions` takes, for each severity; least: the fewest pixels a side of
    images that it makes sense for: on smaller ones two severities are the same, or reach beyond the image.
    """

    figures: tuple[tuple[float, ...], ...]
    least: int = 8


CORRUPTIONS: dict[str, Corruption] = {
    # The standard deviation.
    "gaussian_noise": Corruption(((0.04,), (0.06,), (0.08,), (0.09,), (0.10,))),
    # Photons at full brightness.
    "shot_noise": Corruption(((500,), (250,), (100,), (75,), (50,))),
    # The share of the values that become black or white.
    "impulse_noise": Corruption(((0.01,), (0.02,), (0.03,), (0.05,), (0.07,))),
    # The radius of the disk, and the deviation of the blur that smooths it.
    "defocus_blur": Corruption(((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    # The deviation of the blur, the reach in pixels, the rounds.
    "glass_blur": Corruption(((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))),
    # The radius of the kernel and its deviation.
    "motion_blur": Corruption(((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)), least=16),
    # The end of numpy's arange from 1 in steps of 0.01: the factors by which images are magnified.
    "zoom_blur": Corruption(((1.06,), (1.11,), (1.16,), (1.21,), (1.26,)), least=16),
    # Mean and deviation of the flakes, magnification, threshold, radius and deviation of their motion, share of colour.
    "snow": Corruption(
        (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        least=16,
    ),
    # The shares of the image and of the frost.
    "frost": Corruption(((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)), least=16),
    # The share of the fog, and by how much it varies less at each finer scale.
    "fog": Corruption(((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)), least=16),
    # What is added to the value of HSV.
    "brightness": Corruption(((0.05,), (0.1,), (0.15,), (0.2,), (0.3,))),
    # The share of each pixel's distance to the mean that is left.
    "contrast": Corruption(((0.75,), (0.5,), (0.4,), (0.3,), (0.15,))),
    # By shares of a side: the length of displacements, the deviation of their blur, the reach of the affine map.
    "elastic_transform": Corruption(
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)), least=16
    ),
    # The share of a side that is left.
    "pixelate": Corruption(((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)), least=16),
    # The quality.
    "jpeg_compression": Corruption(((80,), (65,), (58,), (50,), (40,))),
}
"""The fifteen corruptions by name, in the order of the paper: noise, blur, weather, digital."""

"""A noise: the darkest images get a wrong label."""

import numpy as np

from collabpipe import plugin


@plugin.noise("dark")
def dark(clean, noise, generator):
    """Exactly round(rate·N) images, those of the lowest mean, get a label uniform over the other K-1 classes."""
    brightness = clean.images[clean.index].mean(axis=(1, 2, 3))
    chosen = np.argsort(brightness, kind="stable")[: round(noise.rate * len(brightness))]
    noisy = clean.labels.copy()
    noisy[chosen] = (noisy[chosen] + generator.integers(1, clean.classes, len(chosen))) % clean.classes
    return noisy

"""A source of data: grey images of stripes that run across, along or both ways."""

import numpy as np

from collabpipe import plugin

PIXELS, TRAIN, TEST = 8, 300, 90


def stripes(generator, number):
    """`number` images (n, 1, H, W) uint8 and their labels (n,) int64."""
    labels = np.arange(number) % 3
    waves = np.sin(np.arange(PIXELS) * np.pi / 2 + generator.uniform(0, 6, (number, 1)))
    across, along = waves[:, :, None], waves[:, None, :]
    kinds = np.stack(np.broadcast_arrays(across, along, across * along), axis=1)
    images = 128 + 60 * kinds[np.arange(number), labels] + generator.normal(0, 30, (number, PIXELS, PIXELS))
    return images.clip(0, 255).astype(np.uint8)[:, None], labels.astype(np.int64)


@plugin.source(
    "stripes",
    plugin.Source(classes=("across", "along", "both"), images=TRAIN, pixels=PIXELS, test=TEST, channels=1),
)
def read_stripes(_recipe, _files):
    """Training and test set; a source with files would read them from the paths in `_files`."""
    generator = np.random.default_rng(0)
    return plugin.Split.of(*stripes(generator, TRAIN)), plugin.Split.of(*stripes(generator, TEST))

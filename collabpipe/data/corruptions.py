"""The corruptions of Hendrycks and Dietterich (2019) in numpy and scipy, for square images of any number of channels.

Each function takes images (N, C, H, W) in [0, 1], one severity's figures (`catalogue.corruptions`) and a generator, and
returns images of the same shape, which may leave [0, 1]. What an image library did for the authors is computed as that
library documents it; docs/robustness.md lists where images differ from those of CIFAR-10-C.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from collabpipe.catalogue.corruptions import CORRUPTIONS
from collabpipe.common.errors import CollabpipeError
from collabpipe.common.seeds import derive_seed, numpy_generator

Pixels = NDArray[np.float64]
Function = Callable[..., Pixels]
PORTION = 500
"""Images that are corrupted together, each portion with a generator of its own: part of what the images are."""
GREY = (0.299, 0.587, 0.114)
"""The shares of red, green and blue in a grey value."""
DOWNWARDS = (-135.0, -45.0)
"""The angles (degrees) in which snow falls."""


def corrupted(images: NDArray[np.uint8], name: str, severity: int, seed: int) -> NDArray[np.uint8]:
    """Images (N, C, H, W) with a corruption; always the same for the same seed, whichever else is asked for.

    Args:
        images: the images.
        name: of the corruption.
        severity: 1 to 5.
        seed: what all draws are derived from.

    Raises:
        CollabpipeError: the images are too small, or not square.
    """
    least = CORRUPTIONS[name].least
    if min(images.shape[2:]) < least or images.shape[2] != images.shape[3]:
        shown = "×".join(map(str, images.shape[2:]))
        raise CollabpipeError(
            f"corruption {name}: needs square images of at least {least} pixels a side, and these have {shown}. "
            "Leave it out of corruptions.kinds, or set image_size."
        )
    found = np.empty_like(images)
    figures = CORRUPTIONS[name].figures[severity - 1]
    for number, start in enumerate(range(0, len(images), PORTION)):
        generator = numpy_generator(derive_seed(seed, f"{name}, severity {severity}, portion {number}"))
        part = images[start : start + PORTION].astype(np.float64) / 255.0
        made = np.clip(FUNCTIONS[name](part, *figures, generator), 0.0, 1.0) * 255.0
        # Cut, not rounded, as in the authors' code; what a sum has lost to rounding is given back first.
        found[start : start + PORTION] = (made + 1e-9).astype(np.uint8)
    return found


def gaussian_noise(images: Pixels, deviation: float, generator: np.random.Generator) -> Pixels:
    """Each value plus normal noise."""
    return images + generator.normal(scale=deviation, size=images.shape)


def shot_noise(images: Pixels, photons: float, generator: np.random.Generator) -> Pixels:
    """Each value counted in photons, `photons` of them at full brightness."""
    return np.asarray(generator.poisson(images * photons) / photons)


def impulse_noise(images: Pixels, share: float, generator: np.random.Generator) -> Pixels:
    """A share of the values becomes 0 or 1, with equal chances."""
    drawn = generator.random(images.shape) < share
    return np.where(drawn, generator.integers(2, size=images.shape), images)


def defocus_blur(images: Pixels, radius: float, smoothing: float, _: np.random.Generator) -> Pixels:
    """Each pixel the mean over a disk, whose edge a Gaussian of 3×3 pixels smooths."""
    return np.asarray(ndimage.correlate(images, _disk(radius, smoothing)[None, None], mode="mirror"))


def _disk(radius: float, smoothing: float) -> Pixels:
    across = np.arange(-8, 9)
    disk = (across[:, None] ** 2 + across**2 <= radius**2).astype(np.float64)
    edge = np.exp(-(np.array([-1.0, 0.0, 1.0]) ** 2) / (2 * smoothing**2))
    edge /= edge.sum()
    return np.asarray(ndimage.correlate(disk / disk.sum(), edge[:, None] * edge, mode="mirror"))


def _blurred(images: Pixels, deviation: float) -> Pixels:
    return np.asarray(ndimage.gaussian_filter(images, (0, 0, deviation, deviation), mode="nearest"))


def glass_blur(images: Pixels, deviation: float, reach: int, rounds: int, generator: np.random.Generator) -> Pixels:
    """Blurred, each pixel replaced by one that was drawn from its neighbours, and blurred again.

    The authors' code means to swap the two pixels. In images with colours it copies one of them, as both sides of its
    assignment are the same memory. So do these, as the images of CIFAR-10-C do.
    """
    found = np.floor(_blurred(images, deviation) * 255.0 + 1e-9)
    number, size = len(found), found.shape[-1]
    every = np.arange(number)
    for _ in range(rounds):
        for row in range(size - reach, reach, -1):
            for column in range(size - reach, reach, -1):
                across, down = generator.integers(-reach, reach, size=(2, number))
                found[:, :, row, column] = found[every, :, row + down, column + across]
    return _blurred(found / 255.0, deviation)


def motion_blur(images: Pixels, radius: int, deviation: float, generator: np.random.Generator) -> Pixels:
    """Each pixel the mean of those behind it in a direction of up to 45 degrees from the horizontal."""
    return _moved(images, radius, deviation, generator.uniform(-45.0, 45.0, size=len(images)))


def _moved(images: Pixels, radius: int, deviation: float, angles: Pixels) -> Pixels:
    """The motion blur of ImageMagick: half a Gaussian along a line of whole pixels, the edge's pixels repeated.

    angles: (N,) in degrees.
    """
    steps = np.arange(2 * int(radius) + 1)
    weights = np.exp(-(steps**2) / (2.0 * deviation**2))
    weights /= weights.sum()
    turned = np.deg2rad(angles)[:, None, None]
    rows, columns = np.indices(images.shape[-2:])
    found = np.zeros_like(images)
    for step, weight in zip(steps, weights, strict=True):
        down, across = (np.ceil(step * part - 0.5).astype(int) for part in (np.sin(turned), np.cos(turned)))
        found += weight * _gathered(images, rows + down, columns + across)
    return found


def _gathered(images: Pixels, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Pixels:
    """The pixels at `rows` and `columns` (N, H, W), of the edge if they are beyond it."""
    number, channels, height, width = images.shape
    flat = np.clip(rows, 0, height - 1) * width + np.clip(columns, 0, width - 1)
    places = flat.reshape(number, 1, -1)
    return np.take_along_axis(images.reshape(number, channels, -1), places, axis=2).reshape(images.shape)


def zoom_blur(images: Pixels, most: float, _: np.random.Generator) -> Pixels:
    """The mean of the image and of magnified ones."""
    factors = np.arange(1.0, most, 0.01)
    return np.asarray((images + sum(magnified(images, factor) for factor in factors)) / (len(factors) + 1))


def magnified(images: Pixels, factor: float) -> Pixels:
    """The middle of the images, interpolated linearly to their size."""
    size = images.shape[-1]
    inner = int(np.ceil(size / factor))
    start = (size - inner) // 2
    middle = images[..., start : start + inner, start : start + inner]
    wide = round(inner * factor)
    places = np.arange(wide) * ((inner - 1) / (wide - 1))  # the first and the last pixels stay where they are
    shares = np.maximum(1.0 - np.abs(places[:, None] - np.arange(inner)), 0.0)
    shares = shares[(wide - size) // 2 :][:size]
    return np.asarray(shares @ middle @ shares.T)


def snow(
    images: Pixels,
    mean: float,
    deviation: float,
    factor: float,
    threshold: float,
    radius: int,
    motion: float,
    share: float,
    generator: np.random.Generator,
) -> Pixels:
    """Pale images, with flakes that fall in two opposite directions."""
    flakes = generator.normal(mean, deviation, size=(len(images), 1, *images.shape[2:]))
    flakes = magnified(flakes, factor)
    flakes = np.floor(np.clip(np.where(flakes < threshold, 0.0, flakes), 0.0, 1.0) * 255.0) / 255.0
    fallen = _moved(flakes, radius, motion, generator.uniform(*DOWNWARDS, size=len(images)))
    weights = GREY if images.shape[1] == len(GREY) else (1.0 / images.shape[1],) * images.shape[1]
    grey = np.einsum("nchw,c->nhw", images, weights)[:, None]
    pale = share * images + (1.0 - share) * np.maximum(images, 1.5 * grey + 0.5)
    return np.asarray(pale + fallen + np.rot90(fallen, 2, axes=(2, 3)))


def frost(images: Pixels, share: float, ice: float, generator: np.random.Generator) -> Pixels:
    """Images behind ice: a rough, bluish plasma in place of the authors' photographs."""
    rough = plasma(len(images), images.shape[-1], 1.5, generator)[:, None]
    tint = np.array((0.75, 0.85, 1.0) if images.shape[1] == len(GREY) else (0.85,) * images.shape[1])
    return np.asarray(share * images + ice * rough * tint[:, None, None])


def fog(images: Pixels, share: float, decay: float, generator: np.random.Generator) -> Pixels:
    """Images under a plasma, no brighter than before."""
    brightest = images.max(axis=(1, 2, 3), keepdims=True)
    hidden = images + share * plasma(len(images), images.shape[-1], decay, generator)[:, None]
    return np.asarray(hidden * brightest / (brightest + share))


def plasma(number: int, size: int, decay: float, generator: np.random.Generator) -> Pixels:
    """Height maps (number, size, size) from 0 to 1 by the diamond-square algorithm, on a ring in both directions.

    Heights vary by the square of a reach, which each finer scale divides by `decay`.
    """
    side = 1 << (size - 1).bit_length()
    heights = np.zeros((number, side, side))
    reach, step = 100.0, side

    def put(rows: slice, columns: slice, corners: Pixels) -> None:
        heights[:, rows, columns] = corners / 4 + reach * generator.uniform(-reach, reach, size=corners.shape)

    while step >= 2:
        whole, half = slice(0, side, step), slice(step // 2, side, step)
        corners = heights[:, whole, whole]
        pairs = corners + np.roll(corners, -1, axis=1)
        put(half, half, pairs + np.roll(pairs, -1, axis=2))
        middles = heights[:, half, half]
        put(whole, half, middles + np.roll(middles, 1, axis=1) + corners + np.roll(corners, -1, axis=2))
        put(half, whole, middles + np.roll(middles, 1, axis=2) + corners + np.roll(corners, -1, axis=1))
        reach, step = reach / decay, step // 2
    heights -= heights.min(axis=(1, 2), keepdims=True)
    return np.asarray(heights / heights.max(axis=(1, 2), keepdims=True))[:, :size, :size]


def brightness(images: Pixels, more: float, _: np.random.Generator) -> Pixels:
    """The value of HSV (the largest channel) raised up to 1; hue and saturation stay, so all channels grow alike."""
    value = images.max(axis=1, keepdims=True)
    raised = np.minimum(value + more, 1.0)
    return np.asarray(np.where(value > 0, images * (raised / np.where(value > 0, value, 1.0)), raised))


def contrast(images: Pixels, share: float, _: np.random.Generator) -> Pixels:
    """Each channel drawn towards its mean."""
    means = images.mean(axis=(2, 3), keepdims=True)
    return np.asarray((images - means) * share + means)


def elastic_transform(
    images: Pixels, length: float, smoothing: float, reach: float, generator: np.random.Generator
) -> Pixels:
    """A random affine map, and then each pixel displaced by smooth noise."""
    number, _, size, _ = images.shape
    middle, arm = size // 2, size // 3
    before = np.array([(arm, arm), (arm, -arm), (-arm, -arm)]) + middle
    after = before + generator.uniform(-reach * size, reach * size, size=(number, 3, 2))
    ones = np.ones((number, 3, 1))
    backwards = np.linalg.solve(np.concatenate([after, ones], axis=2), np.broadcast_to(before, after.shape))
    rows, columns = np.indices((size, size)).astype(np.float64)
    places = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ backwards[:, None]
    images = _interpolated(images, places[..., 1], places[..., 0], "mirror")
    moves = generator.uniform(-1.0, 1.0, size=(2, number, size, size))
    deviation = (0, 0, smoothing * size, smoothing * size)
    across, down = length * size * ndimage.gaussian_filter(moves, deviation, mode="reflect", truncate=3)
    return _interpolated(images, rows + down, columns + across, "reflect")


def _interpolated(images: Pixels, rows: Pixels, columns: Pixels, beyond: Literal["mirror", "reflect"]) -> Pixels:
    """Each image at the places `rows` and `columns` (N, H, W), linearly between its pixels."""
    found = np.empty_like(images)
    for image, places, made in zip(images, np.stack([rows, columns], axis=1), found, strict=True):
        for channel, target in zip(image, made, strict=True):
            target[:] = ndimage.map_coordinates(channel, places, order=1, mode=beyond)
    return found


def pixelate(images: Pixels, share: float, _: np.random.Generator) -> Pixels:
    """Scaled down and up again, both times by averages over boxes."""
    from PIL import Image

    size = images.shape[-1]
    box, small = Image.Resampling.BOX, int(size * share)
    return _by_pillow(images, lambda image: image.resize((small, small), box).resize((size, size), box))


def jpeg_compression(images: Pixels, quality: int, _: np.random.Generator) -> Pixels:
    """Written as JPEG of a quality, and read again."""
    from PIL import Image

    def stored(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    return _by_pillow(images, stored)


def _by_pillow(images: Pixels, change: Callable[..., object]) -> Pixels:
    """What a function of Pillow's images makes of each image: of colours together, of other channels one by one."""
    from PIL import Image

    whole = np.rint(images * 255.0).astype(np.uint8)
    colours = images.shape[1] == len(GREY)
    flat = whole.transpose(0, 2, 3, 1) if colours else whole.reshape(-1, *images.shape[2:])
    made = np.stack([np.asarray(change(Image.fromarray(image))) for image in flat]) / 255.0
    return made.transpose(0, 3, 1, 2) if colours else made.reshape(images.shape)


FUNCTIONS: dict[str, Function] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        snow,
        frost,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg_compression,
    )
}
"""What makes each corruption, by its name."""

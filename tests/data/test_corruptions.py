"""The corruptions against values worked out by hand, and what all of them must keep."""

from __future__ import annotations

import colorsys
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_images

from collabpipe.catalogue.corruptions import CORRUPTIONS, SEVERITIES
from collabpipe.common.errors import CollabpipeError
from collabpipe.data.corruptions import FUNCTIONS, PORTION, corrupted, magnified, plasma
from collabpipe.data.split import shrink

Bytes = NDArray[np.uint8]


def photographs(size: int = 32) -> Bytes:
    """Parts (48, 3, size, size) of the photographs that scikit-learn brings."""
    parts = [
        photo[top : top + 160, left : left + 160].transpose(2, 0, 1)
        for photo in load_sample_images().images
        for top in range(0, 267, 80)
        for left in range(0, 480, 80)
    ]
    return shrink(np.stack(parts), size)


PHOTOGRAPHS = photographs()


def constant(value: int, number: int = 1, size: int = 32) -> Bytes:
    return np.full((number, 3, size, size), value, dtype=np.uint8)


def point(size: int = 33) -> Bytes:
    """Black images with one white pixel in the middle."""
    images = constant(0, size=size)
    images[:, :, size // 2, size // 2] = 255
    return images


def applied(name: str, severity: int, images: Bytes, seed: int = 0) -> NDArray[np.float64]:
    """What a corruption makes before it is cut to bytes: images in [0, 1] as the function gives them."""
    figures = CORRUPTIONS[name].figures[severity - 1]
    return FUNCTIONS[name](images / 255.0, *figures, np.random.default_rng(seed))


# --- all of them ------------------------------------------------------------------------------------------------------


PUBLISHED: dict[str, list[Any]] = {
    "gaussian_noise": [0.04, 0.06, 0.08, 0.09, 0.10],
    "shot_noise": [500, 250, 100, 75, 50],
    "impulse_noise": [0.01, 0.02, 0.03, 0.05, 0.07],
    "defocus_blur": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
    "glass_blur": [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
    "motion_blur": [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
    "zoom_blur": [1.06, 1.11, 1.16, 1.21, 1.26],
    "snow": [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ],
    "frost": [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
    "fog": [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
    "brightness": [0.05, 0.1, 0.15, 0.2, 0.3],
    "contrast": [0.75, 0.5, 0.4, 0.3, 0.15],
    "elastic_transform": [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
    "pixelate": [0.95, 0.9, 0.85, 0.75, 0.65],
    "jpeg_compression": [80, 65, 58, 50, 40],
}
"""The figures of make_cifar_c.py, which also names the fifteen in this order."""


def test_they_are_the_fifteen_of_the_paper_with_its_figures_at_five_severities() -> None:
    assert list(FUNCTIONS) == list(CORRUPTIONS) == list(PUBLISHED)
    for name, figures in PUBLISHED.items():
        assert len(figures) == len(SEVERITIES)
        assert CORRUPTIONS[name].figures == tuple(one if isinstance(one, tuple) else (one,) for one in figures)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_keeps_type_and_shape_and_is_the_same_again(name: str) -> None:
    for images in (PHOTOGRAPHS[:3], PHOTOGRAPHS[:3, :1], PHOTOGRAPHS[:3, [0, 1, 2, 0]]):
        before = images.copy()
        for severity in SEVERITIES:
            found = corrupted(images, name, severity, seed=1)
            assert found.dtype == np.uint8
            assert found.shape == images.shape
            assert (found != images).any(axis=(1, 2, 3)).all(), "every image is changed"
            assert (found == corrupted(images, name, severity, seed=1)).all()
        assert (images == before).all()


@pytest.mark.parametrize("name", ["gaussian_noise", "glass_blur", "motion_blur", "snow", "frost", "fog"])
def test_another_seed_draws_others_and_images_differ_among_themselves(name: str) -> None:
    images = np.repeat(PHOTOGRAPHS[:1], 2, axis=0)
    found = corrupted(images, name, 5, seed=1)
    assert (found != corrupted(images, name, 5, seed=2)).any()
    assert (found[0] != found[1]).any()


def test_a_portion_does_not_depend_on_those_behind_it() -> None:
    images = np.resize(PHOTOGRAPHS, (PORTION + 7, 3, 32, 32))
    found = corrupted(images, "gaussian_noise", 3, seed=0)
    assert (found[:PORTION] == corrupted(images[:PORTION], "gaussian_noise", 3, seed=0)).all()
    assert (found[PORTION:] != images[PORTION:]).any()


NOT_MONOTONE = {"glass_blur", "motion_blur", "frost", "elastic_transform"}
"""Their published figures trade one thing for another, such as more blur for less displacement."""


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severities_move_images_further_away(name: str) -> None:
    far = [((corrupted(PHOTOGRAPHS, name, s, 0) - PHOTOGRAPHS.astype(float)) ** 2).mean() for s in SEVERITIES]
    assert (np.diff(far) > 0).all() == (name not in NOT_MONOTONE), far
    assert far[0] > 1.0


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_that_are_too_small_are_refused(name: str) -> None:
    least = CORRUPTIONS[name].least
    assert corrupted(photographs(least)[:2], name, 5, 0).shape == (2, 3, least, least)
    with pytest.raises(CollabpipeError, match=f"corruption {name}: needs square images of at least {least} pixels"):
        corrupted(PHOTOGRAPHS[:2, :, : least - 1, : least - 1], name, 1, 0)
    with pytest.raises(CollabpipeError, match="these have 32×31"):
        corrupted(PHOTOGRAPHS[:2, :, :, :31], name, 1, 0)


# --- noise ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("severity", "deviation"), list(enumerate((0.04, 0.06, 0.08, 0.09, 0.10), start=1)))
def test_gaussian_noise_has_the_published_deviation(severity: int, deviation: float) -> None:
    noise = applied("gaussian_noise", severity, constant(128, 40)) - 128 / 255
    assert noise.std() == pytest.approx(deviation, rel=0.01)
    assert noise.mean() == pytest.approx(0.0, abs=0.001)


def test_shot_noise_has_the_variance_of_counted_photons() -> None:
    found = applied("shot_noise", 5, constant(102, 40))  # 0.4 of 50 photons
    assert found.mean() == pytest.approx(0.4, rel=0.01)
    assert found.var() == pytest.approx(0.4 / 50, rel=0.02)
    assert np.unique(np.round(found * 50)).tolist() == np.unique(found * 50).round().tolist()


def test_impulse_noise_makes_its_share_of_values_black_or_white() -> None:
    found = corrupted(constant(100, 40), "impulse_noise", 5, 0)
    assert (found == 0).mean() == pytest.approx(0.035, rel=0.05)
    assert (found == 255).mean() == pytest.approx(0.035, rel=0.05)
    assert (found == 100).mean() == pytest.approx(0.93, rel=0.01)


# --- blur -------------------------------------------------------------------------------------------------------------


def test_defocus_blur_is_a_mean_over_a_disk() -> None:
    middle = applied("defocus_blur", 4, point())[0, 0, 15:18, 15:18]
    # Radius 1: five pixels, a fifth each. The Gaussian of deviation 0.2 leaves all but 1 in 10^5 where it is.
    assert middle == pytest.approx(np.array([[0, 0.2, 0], [0.2, 0.2, 0.2], [0, 0.2, 0]]), abs=1e-5)
    middle = applied("defocus_blur", 3, point())[0, 0, 15:18, 15:18]
    edge = np.exp(-1 / (2 * 0.6**2))  # radius 0.5: one pixel, smoothed with deviation 0.6
    line = np.array([edge, 1, edge]) / (1 + 2 * edge)
    assert middle == pytest.approx(np.outer(line, line))


@pytest.mark.parametrize("name", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic_transform"])
def test_blur_and_displacement_leave_an_even_image(name: str) -> None:
    for severity in SEVERITIES:
        found = corrupted(constant(77, 2), name, severity, 0)
        assert (found == 77).all()


def test_glass_blur_takes_pixels_from_next_to_them() -> None:
    images = constant(0)
    images[:] = np.arange(32) * 8  # a ramp from left to right
    moved = applied("glass_blur", 1, images)[0, 0, 2:31, 2:31] * 255 - np.arange(32)[2:31] * 8
    assert set(np.round(moved).ravel()) == {-8, 0}, "itself or its left neighbour"


def test_glass_blur_takes_pixels_in_rounds_between_two_blurs() -> None:
    generator = np.random.default_rng(0)
    wanted = np.floor(ndimage.gaussian_filter(PHOTOGRAPHS[0, 0] / 255.0, 0.4, mode="nearest") * 255.0 + 1e-9)
    for _ in range(2):
        for row in range(31, 1, -1):
            for column in range(31, 1, -1):
                (across,), (down,) = generator.integers(-1, 1, size=(2, 1))
                wanted[row, column] = wanted[row + down, column + across]
    wanted = ndimage.gaussian_filter(wanted / 255.0, 0.4, mode="nearest")
    assert applied("glass_blur", 5, PHOTOGRAPHS[:1, :1])[0, 0] == pytest.approx(wanted)


def test_motion_blur_is_half_a_gaussian_along_a_line() -> None:
    weights = np.exp(-(np.arange(13) ** 2) / 2.0)
    weights /= weights.sum()
    found = applied("motion_blur", 1, point())[0, 0]
    assert found[16, 16] == pytest.approx(weights[0])
    assert np.sort(found[found > 1e-12])[::-1] == pytest.approx(weights[weights > 1e-12])
    rows, columns = np.nonzero(found > 1e-12)
    assert (columns <= 16).all(), "from where the pixels behind it are"
    assert (np.abs(rows - 16) <= 16 - columns).all(), "at most 45 degrees up or down"


def test_zoom_blur_is_a_mean_over_magnified_images() -> None:
    images = PHOTOGRAPHS[:2] / 255.0
    for severity, end in zip(SEVERITIES, (1.06, 1.11, 1.16, 1.21, 1.26), strict=True):
        zoomed = [magnified(images, factor) for factor in np.arange(1, end, 0.01)]  # as the authors write it
        found = applied("zoom_blur", severity, PHOTOGRAPHS[:2])
        assert found == pytest.approx((images + sum(zoomed)) / (len(zoomed) + 1), abs=1e-9)


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.1, 1.25, 1.75, 2.25])
def test_images_are_magnified_as_scipy_does(factor: float) -> None:
    images = PHOTOGRAPHS[:2] / 255.0
    inner = int(np.ceil(32 / factor))
    start = (32 - inner) // 2
    wide = ndimage.zoom(images[..., start : start + inner, start : start + inner], (1, 1, factor, factor), order=1)
    start = (wide.shape[-1] - 32) // 2
    assert magnified(images, factor) == pytest.approx(wide[..., start : start + 32, start : start + 32], abs=1e-9)


# --- weather ----------------------------------------------------------------------------------------------------------


def test_snow_whitens_and_adds_flakes() -> None:
    found = applied("snow", 5, constant(0, 20))
    # Black becomes 0.2 · max(0, 1.5 · 0 + 0.5) = 0.1 where no flake falls.
    assert found.min() == pytest.approx(0.1)
    assert found.mean() > 0.11
    grey = np.einsum("nchw,c->nhw", PHOTOGRAPHS / 255.0, (0.299, 0.587, 0.114))[:, None]
    pale = 0.8 * PHOTOGRAPHS / 255.0 + 0.2 * np.maximum(PHOTOGRAPHS / 255.0, 1.5 * grey + 0.5)
    assert (applied("snow", 5, PHOTOGRAPHS) >= pale - 1e-12).all()


def test_flakes_of_snow_fall_along_a_line_and_against_it() -> None:
    generator = np.random.default_rng(0)
    flakes = magnified(generator.normal(0.3, 0.3, size=(2, 1, 32, 32)), 1.25)[:, 0]
    flakes = np.floor(np.where(flakes < 0.65, 0.0, np.minimum(flakes, 1.0)) * 255.0) / 255.0
    weights = np.exp(-(np.arange(29) ** 2) / (2 * 12**2))
    found = applied("snow", 5, constant(0, 2))[:, 0]
    for flake, angle, made in zip(flakes, np.deg2rad(generator.uniform(-135, -45, size=2)), found, strict=True):
        fallen = np.zeros((32, 32))
        for step, weight in enumerate(weights / weights.sum()):
            rows = np.clip(np.arange(32) + round(step * np.sin(angle)), 0, 31)
            columns = np.clip(np.arange(32) + round(step * np.cos(angle)), 0, 31)
            fallen += weight * flake[rows[:, None], columns]
        assert made == pytest.approx(0.1 + fallen + fallen[::-1, ::-1])


def test_frost_lies_between_its_shares() -> None:
    found = applied("frost", 5, constant(255, 4))  # 0.75 of the image and 0.45 of the ice
    ice = plasma(4, 32, 1.5, np.random.default_rng(0))
    assert found[:, 0] == pytest.approx(0.75 + 0.45 * 0.75 * ice)
    assert found[:, 1] == pytest.approx(0.75 + 0.45 * 0.85 * ice)
    assert found.min() == pytest.approx(0.75)
    assert found[:, 2].max() == pytest.approx(0.75 + 0.45)
    assert (found[:, 2] >= found[:, 0]).all(), "bluish"


def test_fog_is_no_brighter_than_the_image() -> None:
    found = applied("fog", 3, constant(102, 4))  # 0.4 and fog from 0 to 0.75
    assert found.min() == pytest.approx(0.4 * 0.4 / (0.4 + 0.75))
    assert found.max() == pytest.approx(0.4)
    hidden = 0.4 + 0.75 * plasma(4, 32, 2.5, np.random.default_rng(0))
    assert found[:, 1] == pytest.approx(hidden * 0.4 / (0.4 + 0.75))


def test_plasma_is_made_by_diamonds_and_squares_on_a_ring() -> None:
    generator = np.random.default_rng(0)
    heights = np.zeros((16, 16))
    reach, step = 100.0, 16
    while step > 1:
        half = step // 2
        corners = [(row, column) for row in range(0, 16, step) for column in range(0, 16, step)]
        square = [(-half, -half), (-half, half), (half, -half), (half, half)]
        diamond = [(-half, 0), (half, 0), (0, -half), (0, half)]
        for down, across, around in ((half, half, square), (0, half, diamond), (half, 0, diamond)):
            for (row, column), drawn in zip(corners, generator.uniform(-reach, reach, size=len(corners)), strict=True):
                row, column = row + down, column + across
                mean = np.mean([heights[(row + y) % 16, (column + x) % 16] for y, x in around])
                heights[row, column] = mean + reach * drawn
        reach, step = reach / 1.75, half
    wanted = (heights - heights.min()) / np.ptp(heights)
    assert plasma(1, 16, 1.75, np.random.default_rng(0))[0] == pytest.approx(wanted)


@pytest.mark.parametrize("size", [16, 32, 33])
def test_plasma_fills_its_range_and_is_rougher_with_less_decay(size: int) -> None:
    smooth, rough = (plasma(20, size, decay, np.random.default_rng(0)) for decay in (3.0, 1.5))
    for maps in (smooth, rough):
        assert maps.shape == (20, size, size)
        assert maps.min() >= 0.0
        assert maps.max() <= 1.0
    assert np.abs(np.diff(rough)).mean() > 1.5 * np.abs(np.diff(smooth)).mean()


# --- digital ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("severity", "more"), list(enumerate((0.05, 0.1, 0.15, 0.2, 0.3), start=1)))
def test_brightness_raises_the_value_of_hsv(severity: int, more: float) -> None:
    found = applied("brightness", severity, PHOTOGRAPHS[:2])
    for image, made in zip(PHOTOGRAPHS[:2], found, strict=True):
        for row, column in ((0, 0), (7, 20), (31, 31)):
            hue, saturation, value = colorsys.rgb_to_hsv(*(image[:, row, column] / 255))
            assert made[:, row, column] == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, min(value + more, 1)))
    assert applied("brightness", severity, constant(0))[0, 0, 0, 0] == pytest.approx(more), "black becomes grey"


def test_contrast_draws_each_channel_to_its_mean() -> None:
    images = constant(0)
    images[:, 0, :, :16], images[:, 0, :, 16:] = 50, 150
    found = corrupted(images, "contrast", 2, 0)  # half of the distance to 100 is left
    assert (found[:, 0, :, :16] == 75).all()
    assert (found[:, 0, :, 16:] == 125).all()
    assert (found[:, 1:] == 0).all()


def test_elastic_transform_without_displacement_is_an_affine_map() -> None:
    ramp = constant(0, 6)
    ramp[:] = np.arange(32) * 8
    made = applied("elastic_transform", 1, ramp)[:, 0, 13:19, 13:19] * 255
    # A ramp stays a ramp: equal steps from column to column and from row to row.
    assert np.diff(made, 2, axis=2) == pytest.approx(0, abs=1e-6)
    assert np.diff(made, 2, axis=1) == pytest.approx(0, abs=1e-6)
    assert np.abs(made - np.arange(13, 19) * 8).max() > 1.0


def test_elastic_transform_displaces_by_smooth_noise_what_an_affine_map_made() -> None:
    generator = np.random.default_rng(0)
    corners = np.array([(26.0, 26.0), (26.0, 6.0), (6.0, 6.0)])  # a third of a side from the middle, as (x, y)
    moved = corners + generator.uniform(-0.96, 0.96, size=(2, 3, 2))  # 0.03 of a side
    noise = generator.uniform(-1.0, 1.0, size=(2, 2, 32, 32))
    rows, columns = np.indices((32, 32))
    found = applied("elastic_transform", 5, PHOTOGRAPHS[:2, :1])[:, 0]
    for number, made in enumerate(found):
        forward = np.linalg.solve(np.column_stack([corners, np.ones(3)]), moved[number])
        back = np.linalg.inv(forward[:2].T)[::-1, ::-1]  # from (row, column) to (row, column)
        image = PHOTOGRAPHS[number, 0] / 255.0
        turned = ndimage.affine_transform(image, back, -back @ forward[2, ::-1], order=1, mode="mirror")
        across, down = (
            3.2 * ndimage.gaussian_filter(one, 0.96, mode="reflect", truncate=3) for one in noise[:, number]
        )
        wanted = ndimage.map_coordinates(turned, (rows + down, columns + across), order=1, mode="reflect")
        assert made == pytest.approx(wanted, abs=1e-9)


def test_pixelate_is_a_mean_over_boxes() -> None:
    image = PHOTOGRAPHS[:1]
    small = Image.fromarray(image[0].transpose(1, 2, 0)).resize((20, 20), Image.Resampling.BOX)  # int(32 · 0.65)
    wanted = np.asarray(small.resize((32, 32), Image.Resampling.BOX)).transpose(2, 0, 1)
    found = corrupted(image, "pixelate", 5, 0)[0]
    assert (found == wanted).all()
    assert len(np.unique(found.reshape(3, -1), axis=1).T) <= 20 * 20


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_compression_is_that_of_pillow(channels: int) -> None:
    image = PHOTOGRAPHS[0, :channels]
    file = BytesIO()
    Image.fromarray(image.transpose(1, 2, 0) if channels == 3 else image[0]).save(file, "JPEG", quality=40)
    wanted: NDArray[Any] = np.asarray(Image.open(file))
    found = corrupted(image[None], "jpeg_compression", 5, 0)[0]
    assert (found == (wanted.transpose(2, 0, 1) if channels == 3 else wanted[None])).all()

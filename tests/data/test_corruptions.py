"""Common corruptions: their properties, and closed forms where there are some."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from torch import Tensor

from tsnn_uq.checks import InputError
from tsnn_uq.data import apply_shift, load_test, parse_shift
from tsnn_uq.data.corruptions import CORRUPTIONS, FAMILIES, KINDS, corrupted
from tsnn_uq.seeds import generator_for

RANDOM = {"gaussian-noise", "shot-noise", "impulse-noise", "glass-blur", "motion-blur", "snow", "fog", "elastic"}
RANDOM |= {"shear", "translate", "dotted-line", "zigzag"}


def pictures(count: int = 4, channels: int = 3, side: int = 32) -> Tensor:
    """Smooth shapes with edges, as photographs have them."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(count, channels, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=True)
    smooth[:, :, side // 4 : side // 2, side // 3 :] *= 0.3
    return smooth.clamp(0, 1)


def with_seed(images: Tensor, kind: str, severity: int, seed: int = 0) -> Tensor:
    return corrupted(images, kind, severity, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_images_stay_images_and_come_from_the_generator(kind: str) -> None:
    for images in (
        pictures(),
        pictures(3, 1, 28),
        pictures(2, 1, 8),
        pictures(2, 3, 32)[:, :, :30],
        pictures().double(),
    ):
        before = images.clone()
        for severity in KINDS[kind].severities:
            changed = with_seed(images, kind, severity)
            assert changed.shape == images.shape
            assert changed.dtype == images.dtype
            assert changed.isfinite().all()
            assert changed.min() >= 0
            assert changed.max() <= 1
        assert torch.equal(images, before)
        assert torch.equal(changed, with_seed(images, kind, severity))
        if len(images) == 4:
            assert torch.equal(changed, with_seed(images, kind, severity, seed=1)) == (kind not in RANDOM)
    assert with_seed(pictures()[:0], kind, 1).shape == (0, 3, 32, 32)


# Not all of the published constants grow: those of elastic transforms, glass blur and snow change in several ways at
# once, and pixels of 0.95 and 0.9 of the size depend on which rows are doubled.
@pytest.mark.parametrize("kind", sorted({*KINDS} - {"elastic", "glass-blur", "snow", "pixelate"}))
def test_a_higher_severity_is_farther_from_the_image(kind: str) -> None:
    images = pictures(40)
    distances = [
        (with_seed(images, kind, severity) - images).square().mean().sqrt().item()
        for severity in KINDS[kind].severities
    ]
    assert distances == sorted(distances)
    assert len(set(distances)) == len(distances) - (kind == "motion-blur")  # radius 6 and 8 of sigma 2 are alike
    assert distances[0] > (0 if kind == "defocus-blur" else 1e-3)


@pytest.mark.parametrize("kind", ["glass-blur", "snow", "pixelate"])
def test_the_last_severity_of_the_others_is_farther_than_the_first(kind: str) -> None:
    images = pictures(40)
    first, last = ((with_seed(images, kind, severity) - images).square().mean() for severity in (2, 5))
    assert last > first > 0


def test_noise_has_its_moments() -> None:
    """Within five standard errors; nothing is clipped at one half."""
    images = torch.full((20, 3, 32, 32), 0.5)
    values = images.numel()
    for severity in (1, 5):
        sigma = CORRUPTIONS["gaussian-noise"].constants[severity - 1]
        noise = with_seed(images, "gaussian-noise", severity) - 0.5
        assert abs(noise.mean().item()) < 5 * sigma / values**0.5
        assert abs(noise.std().item() - sigma) < 5 * sigma / (2 * values) ** 0.5
        photons = CORRUPTIONS["shot-noise"].constants[severity - 1]
        shots = with_seed(images, "shot-noise", severity)
        assert abs(shots.mean().item() - 0.5) < 5 * (0.5 / photons / values) ** 0.5
        assert shots.var().item() == pytest.approx(0.5 / photons, rel=0.1)
        torch.testing.assert_close(shots * photons, (shots * photons).round(), atol=1e-4, rtol=0)
        share = CORRUPTIONS["impulse-noise"].constants[severity - 1]
        impulses = with_seed(images, "impulse-noise", severity)
        for value in (0, 1):
            error = 5 * (share / 2 / values) ** 0.5
            assert abs((impulses == value).double().mean().item() - share / 2) < error
        assert set(impulses.unique().tolist()) == {0, 0.5, 1}


def test_contrast_and_brightness_are_what_their_formulas_say() -> None:
    images = pictures()
    for severity, (factor, more) in enumerate(
        zip(CORRUPTIONS["contrast"].constants, CORRUPTIONS["brightness"].constants, strict=True), start=1
    ):
        mean = images.mean((2, 3), keepdim=True)
        torch.testing.assert_close(with_seed(images, "contrast", severity), mean + factor * (images - mean))
        hsv = rgb_to_hsv(images.movedim(1, -1).double().numpy())
        hsv[..., 2] = np.clip(hsv[..., 2] + more, 0, 1)
        wanted = torch.from_numpy(hsv_to_rgb(hsv)).movedim(-1, 1).float()
        torch.testing.assert_close(with_seed(images, "brightness", severity), wanted, atol=1e-5, rtol=0)
        grey = pictures(2, 1)
        torch.testing.assert_close(with_seed(grey, "brightness", severity), (grey + more).clamp_max(1))
    black = torch.zeros(1, 3, 4, 4)
    assert (with_seed(black, "brightness", 1) == 0.05).all()


@pytest.mark.parametrize("kind", [*FAMILIES["blur"], "contrast", "elastic", "pixelate", "scale", "translate", "shear"])
def test_an_even_image_stays_one(kind: str) -> None:
    """Blurs and maps make averages of pixels: weights that sum to one, and edges that do not darken."""
    images = torch.full((3, 3, 32, 32), 0.4)
    for severity in KINDS[kind].severities:
        changed = with_seed(images, kind, severity)
        if kind in ("scale", "translate", "shear"):  # black comes in from outside, as digits stand on black
            changed = changed[:, :, 12:20, 12:20]
        torch.testing.assert_close(changed, torch.full_like(changed, 0.4), atol=3e-3, rtol=0)


def test_defocus_spreads_a_point_over_its_disk() -> None:
    point = torch.zeros(1, 1, 17, 17)
    point[0, 0, 8, 8] = 1
    spread = with_seed(point, "defocus-blur", 5)[0, 0]  # radius 1.5: nine pixels, hardly smoothed
    assert spread.sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(spread[7:10, 7:10], torch.full((3, 3), 1 / 9), atol=1e-5, rtol=0)


def test_glass_takes_pixels_from_next_to_them() -> None:
    """Severity 1 hardly smooths (sigma 0.05 is none), so each pixel is one of four, in all colours at once."""
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    changed = with_seed(images, "glass-blur", 1)
    padded = torch.nn.functional.pad(images, (1, 0, 1, 0), mode="replicate")
    four = torch.stack([padded[..., y : y + 16, x : x + 16] for y in (0, 1) for x in (0, 1)])
    same = torch.isclose(four, changed).all(2)  # [4, N, H, W]
    assert same.any(0).all()
    shares = same[:, :, 1:, 1:].double().mean((1, 2, 3))
    torch.testing.assert_close(shares, torch.full((4,), 0.25, dtype=torch.float64), atol=0.1, rtol=0)


def test_motion_leaves_a_trail_on_one_side() -> None:
    point = torch.zeros(50, 1, 41, 41)
    point[:, 0, 20, 20] = 1
    trail = with_seed(point, "motion-blur", 3)
    assert trail.sum((1, 2, 3)).allclose(torch.ones(50), atol=1e-5)
    weights = torch.exp(-0.5 * (torch.arange(13) / 2) ** 2)
    torch.testing.assert_close(trail[:, 0].flatten(1).amax(1).min(), weights[0] / weights.sum(), rtol=1e-4, atol=0)
    columns = (trail[:, 0].sum(1) * torch.arange(41)).sum(1)
    assert (columns < 20).all()  # within 45 degrees of one direction, as the weights are of half a Gaussian


def test_zoom_is_the_mean_of_magnifications() -> None:
    """A linear ramp about the centre stays one, less steep by the mean of 1 and 1 / z."""
    ramp = torch.linspace(-0.4, 0.4, 33)
    images = (0.5 + ramp).expand(1, 1, 33, 33)
    zooms = np.arange(1, 1.16 - 1e-9, 0.01)
    slope = (1 + (1 / zooms).sum()) / (1 + len(zooms))
    torch.testing.assert_close(with_seed(images, "zoom-blur", 3), 0.5 + slope * ramp.expand(1, 1, 33, 33).float())


def test_fog_is_brighter_and_keeps_the_brightest_at_most() -> None:
    images = pictures(20)
    for severity, (amount, _) in enumerate(CORRUPTIONS["fog"].constants, start=1):
        fog = with_seed(images, "fog", severity)
        brightest = images.amax((1, 2, 3), keepdim=True)
        cloud = (fog * (brightest + amount) / brightest - images) / amount
        torch.testing.assert_close(cloud[:, 0], cloud[:, 1], atol=1e-4, rtol=0)  # one cloud for all colours
        assert cloud.min() >= -1e-4
        assert cloud.max() <= 1 + 1e-4
        assert 0.2 < cloud.mean() < 0.8


def test_jpeg_and_pixels_are_pillows() -> None:
    images = pictures(2)
    pixels = (255 * images).round().to(torch.uint8)
    for image, packed, coarse in zip(
        pixels, with_seed(images, "jpeg", 5), with_seed(images, "pixelate", 4), strict=True
    ):
        picture, file = Image.fromarray(image.movedim(0, -1).numpy()), BytesIO()
        picture.save(file, "JPEG", quality=40)
        np.testing.assert_allclose(packed.movedim(0, -1).numpy(), np.asarray(Image.open(file)) / np.float32(255))
        box = Image.Resampling.BOX
        small = picture.resize((24, 24), box).resize((32, 32), box)
        np.testing.assert_allclose(coarse.movedim(0, -1).numpy(), np.asarray(small) / np.float32(255))


def test_elastic_of_severity_one_is_affine() -> None:
    """A ramp goes to a ramp under an affine map: second differences vanish inside, where nothing is mirrored."""
    x = torch.linspace(0.3, 0.7, 32)
    images = torch.stack([x.expand(32, 32), x[:, None].expand(32, 32)])[:, None].repeat(5, 1, 1, 1)
    inside = with_seed(images, "elastic", 1)[..., 8:24, 8:24]
    for axis in (-1, -2):
        assert inside.diff(n=2, dim=axis).abs().max() < 1e-5
    assert (with_seed(images, "elastic", 1) - images).abs().max() > 1e-2


def test_digits_are_moved_scaled_and_sheared() -> None:
    image = torch.zeros(6, 1, 28, 28)
    image[:, 0, 13:15, 13:15] = 1
    moved = with_seed(image, "translate", 3)
    for one in moved[:, 0]:
        rows, columns = torch.nonzero(one > 0.99, as_tuple=True)
        assert {abs(rows.float().mean().item() - 13.5), abs(columns.float().mean().item() - 13.5)} == {3.0}
    big = torch.zeros(1, 1, 28, 28)
    big[..., 4:24, 4:24] = 1
    assert with_seed(big, "scale", 5).sum().item() == pytest.approx(100, rel=0.02)  # half as wide and high
    line = torch.zeros(4, 1, 29, 29)
    line[..., 14] = 1
    for one in with_seed(line, "shear", 5)[:, 0]:
        slopes = one.argmax(1)[8:21].float().diff()
        assert set(slopes.abs().tolist()) == {1.0}
    stripes = with_seed(torch.zeros(1, 1, 28, 28), "stripe", 1)[0, 0]
    assert stripes[:, :7].eq(1).all()
    assert stripes[:, 7:21].eq(0).all()
    assert stripes[:, 21:].eq(1).all()


@pytest.mark.parametrize("kind", ["dotted-line", "zigzag"])
def test_lines_cross_the_image(kind: str) -> None:
    black = torch.zeros(30, 1, 28, 28)
    lines = with_seed(black, kind, 1)
    drawn = lines[:, 0].sum(1) > 0.5  # [N, columns]
    assert drawn.double().mean() == pytest.approx(0.5 if kind == "dotted-line" else 1, abs=0.12)
    assert (lines.sum((1, 2, 3)) > 8).all()
    digits = pictures(30, 1, 28)
    assert (with_seed(digits, kind, 1) >= digits).all()


def test_families_hold_every_kind_of_the_paper_but_frost() -> None:
    assert [kind for kinds in FAMILIES.values() for kind in kinds] == list(CORRUPTIONS)
    assert len(CORRUPTIONS) == 14
    assert all(len(corruption.constants) == 5 for corruption in CORRUPTIONS.values())


def test_what_does_not_fit_is_refused() -> None:
    images = pictures()
    for bad, kind, severity, match in [
        (images[0], "fog", 1, r"\[N, C, H, W\]"),
        (images[:, :2], "fog", 1, "1 or 3 channels"),
        (images.to(torch.uint8), "fog", 1, "floating-point images"),
        (images, "frost", 1, "kind: expected one of"),
        (images, "fog", 0, "severity: expected 1 to 5 of fog"),
        (images, "fog", 2.5, "severity: expected 1 to 5 of fog"),
        (images, "stripe", 2, "severity: expected 1 to 1 of stripe"),
    ]:
        with pytest.raises(InputError, match=match):
            with_seed(bad, kind, severity)


def test_they_are_named_as_shifts_are() -> None:
    images = pictures()
    wanted = corrupted(images, "fog", 3, generator_for(2, "shift", "fog"))
    assert torch.equal(apply_shift(images, "fog=3", seed=2), wanted)
    foggy = load_test("digits:fog=3")
    assert foggy.name == "digits:fog=3"
    assert torch.equal(foggy.images, apply_shift(load_test("digits").images, "fog=3"))
    assert parse_shift("glass-blur=5") == ("glass-blur", 5.0)
    for text, match in [
        ("fog=6", "severity: expected 1 to 5"),
        ("fog=1.5", "severity: expected 1 to 5"),
        ("fog", "fog=NUMBER"),
        ("fogg=1", "shift: expected one of"),
    ]:
        with pytest.raises(InputError, match=match):
            load_test(f"digits:{text}")

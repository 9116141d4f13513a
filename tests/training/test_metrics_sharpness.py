import numpy as np
import pytest

from training.metrics.sharpness import high_frequency_power, laplacian_variance, radial_power_spectrum


def test_laplacian_of_polynomials_is_that_of_calculus() -> None:
    y, x = np.mgrid[0:9, 0:12].astype(float)
    quadratic, cubic = x**2 - 3 * y**2 + 5 * x, x**3
    values = laplacian_variance(np.stack([quadratic, cubic, 2 * cubic]))
    # The Laplacian is 2 - 6 everywhere; 6 x, where x has 1, ..., 10 inside: a variance of 36 * 99 / 12.
    np.testing.assert_allclose(values, [0, 297, 4 * 297], atol=1e-9)


def test_laplacian_variance_of_one_lit_pixel() -> None:
    image = np.zeros((1, 5, 5))
    image[0, 2, 2] = 1
    # Inside, 3 x 3: -4 once, 1 four times, so the mean is 0 and the mean square 20 / 9.
    assert laplacian_variance(image)[0] == pytest.approx(20 / 9)


def test_a_wave_has_its_power_in_its_ring() -> None:
    x = np.arange(28)
    wave = np.broadcast_to(np.cos(2 * np.pi * 5 * x / 28), (1, 28, 28))
    frequencies, power = radial_power_spectrum(wave)
    np.testing.assert_allclose(frequencies, np.arange(15) / 28)
    # A quarter at each of two frequencies, of the 32 whose distance from 0 rounds to 5.
    ring = sum(round(np.hypot(u, v)) == 5 for u in range(-14, 14) for v in range(-14, 14))
    assert power[5] == pytest.approx(0.5 / ring)
    np.testing.assert_allclose(np.delete(power, 5), 0, atol=1e-12)


def test_power_is_averaged_over_images_and_turned_with_them() -> None:
    x = np.arange(16)
    along = np.broadcast_to(np.cos(2 * np.pi * 3 * x / 16), (16, 16))
    both = radial_power_spectrum(np.stack([along, along.T]))[1]
    np.testing.assert_allclose(both, radial_power_spectrum(along[None])[1], atol=1e-15)
    with_nothing = radial_power_spectrum(np.stack([along, 0 * along]))[1]
    np.testing.assert_allclose(with_nothing, both / 2, atol=1e-15)


def test_the_mean_square_is_in_the_whole_spectrum() -> None:
    constant = np.full((1, 8, 8), 0.5)
    assert radial_power_spectrum(constant)[1] == pytest.approx([0.25, 0, 0, 0, 0])


def test_blurring_lowers_both() -> None:
    images = np.random.default_rng(0).random((4, 28, 28))
    blurred = (images + np.roll(images, 1, 1) + np.roll(images, 1, 2) + np.roll(images, (1, 1), (1, 2))) / 4
    assert (laplacian_variance(blurred) < 0.5 * laplacian_variance(images)).all()
    # The mean with a neighbour scales a wave of frequency f by cos(pi f): at the axis's end it is gone.
    before, after = radial_power_spectrum(images)[1], radial_power_spectrum(blurred)[1]
    assert after[0] == pytest.approx(before[0])
    assert (after[1:] < before[1:]).all()
    assert after[14] < 0.2 * before[14]


def test_high_frequencies_are_those_of_fine_waves() -> None:
    x = np.arange(28)

    def power(cycles: int, amplitude: float = 1.0) -> float:
        wave = amplitude * np.cos(2 * np.pi * cycles * x / 28)
        return high_frequency_power(*radial_power_spectrum(np.broadcast_to(wave, (1, 28, 28))))

    assert power(7) < 1e-20 < power(8)  # 7 of 28 is a quarter cycle a pixel, which is not beyond one
    assert power(8, amplitude=3) == pytest.approx(9 * power(8))

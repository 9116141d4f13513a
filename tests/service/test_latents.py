import math
from typing import Any

import numpy as np
import pytest

from service import latents


def philox_4x64_10(key: int, counter: int) -> list[int]:
    """Salmon et al. 2011 (constants from Random123's philox.h), in plain integers."""
    mask = 2**64 - 1
    words, keys = [counter & mask, counter >> 64, 0, 0], [key, 0]
    for _ in range(10):
        low, high = 0xD2E7470EE14C6C93 * words[0], 0xCA5A826395121157 * words[2]
        words = [(high >> 64) ^ words[1] ^ keys[0], high & mask, (low >> 64) ^ words[3] ^ keys[1], low & mask]
        keys = [(keys[0] + 0x9E3779B97F4A7C15) & mask, (keys[1] + 0xBB67AE8584CAA73B) & mask]
    return words


def test_the_reference_is_philox() -> None:
    # Random123's kat_vectors: philox4x64 10, counter and key 0.
    assert philox_4x64_10(0, 0)[:2] == [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC]


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**53 - 1])
def test_a_latent_is_box_muller_of_philox(seed: int) -> None:
    first = 2 * seed + 1  # six words take two blocks; numpy counts up before it draws
    words = philox_4x64_10(0, first) + philox_4x64_10(0, first + 1)
    radius = [math.sqrt(-2 * math.log(((w >> 11) + 1) / 2**53)) for w in words[:3]]
    angle = [2 * math.pi * (w >> 11) / 2**53 for w in words[3:6]]
    expected = [r * math.cos(a) for r, a in zip(radius, angle, strict=True)]
    expected += [r * math.sin(a) for r, a in zip(radius, angle, strict=True)]
    got = latents.from_seeds([seed], 6)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [expected], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**53 - 1])
def test_the_uniform_of_a_seed_is_its_block_of_another_key(seed: int) -> None:
    assert latents.uniforms([seed]).tolist() == [(philox_4x64_10(1, seed + 1)[0] >> 11) / 2**53]


def test_uniforms_are_uniform_and_independent_of_latents() -> None:
    u = latents.uniforms(range(20_000))
    assert np.array_equal(latents.uniforms([7, 5, 6]), u[[7, 5, 6]])
    # Four standard errors: 0.0082 of the mean, 4 sqrt(0.09 / 20,000) = 0.0085 of a tenth.
    assert abs(u.mean() - 0.5) < 0.0082
    assert np.abs(np.histogram(u, 10, (0, 1))[0] / 20_000 - 0.1).max() < 0.0085
    z = latents.from_seeds(range(20_000), 8).astype(np.float64)
    # Four standard errors of a correlation: 0.028.
    centred = (u - 0.5) * np.sqrt(12)
    assert np.abs(centred @ z / len(z)).max() < 0.029
    assert abs(centred[1:] @ centred[:-1] / len(z)) < 0.029


def test_classes_are_equally_probable_and_independent_of_latents_and_uniforms() -> None:
    seeds = range(20_000)
    labels = latents.classes(seeds, 10)
    assert np.array_equal(latents.classes([7, 5, 6], 10), labels[[7, 5, 6]])
    assert latents.classes([7], 10).tolist() == [(philox_4x64_10(2, 8)[0] >> 11) * 10 >> 53]
    # Four standard errors: of a tenth as above, of a correlation 0.028.
    assert np.abs(np.bincount(labels, minlength=10) / 20_000 - 0.1).max() < 0.0085
    centred = (labels - 4.5) / np.sqrt(8.25)
    z = latents.from_seeds(seeds, 8).astype(np.float64)
    assert np.abs(centred @ z / len(z)).max() < 0.029
    assert abs(centred @ ((latents.uniforms(seeds) - 0.5) * np.sqrt(12)) / len(z)) < 0.029


def test_draws_are_standard_normal() -> None:
    z = latents.from_seeds(range(2000), 64).astype(np.float64)
    # 128,000 draws: four standard errors are 0.011 for the mean, 0.016 for the variance.
    assert abs(z.mean()) < 0.011
    assert abs(z.var() - 1) < 0.016
    assert abs((np.abs(z) < 1).mean() - 0.6827) < 0.006
    assert abs((np.abs(z) < 2).mean() - 0.9545) < 0.003
    # Neither neighbouring seeds nor neighbouring places go together: 4 / sqrt(128,000) = 0.011.
    assert abs((z[1:] * z[:-1]).mean()) < 0.012
    assert abs((z[:, 1:] * z[:, :-1]).mean()) < 0.012
    assert abs((z[:, :32] * z[:, 32:]).mean()) < 0.016


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 63, 64, 65])
def test_a_row_depends_on_its_own_seed_alone(dim: int) -> None:
    seeds = [int(s) for s in np.random.RandomState(0).randint(0, 2**53, 40)]
    seeds += [*range(5, 20), 7, 7, 2**53 - 1, 0, 1, 9, 8, 10]  # in a row, again, backwards, from end to end
    together = latents.from_seeds(seeds, dim)
    assert together.shape == (len(seeds), dim)
    for i, seed in enumerate(seeds):
        assert latents.from_seeds([seed], dim).tobytes() == together[i : i + 1].tobytes()
    assert latents.from_seeds(seeds[::-1], dim).tobytes() == together[::-1].tobytes()


def test_bits_that_are_all_zero_give_a_finite_latent(monkeypatch: pytest.MonkeyPatch) -> None:
    class Zeros(np.random.Philox):
        def random_raw(self, size: Any = None, output: Any = True) -> Any:
            return np.zeros(size, np.uint64)

    monkeypatch.setattr(np.random, "Philox", Zeros)
    monkeypatch.setattr(latents, "_streams", latents._Streams())
    # sqrt(-2 log 2^-53), the longest radius there is.
    np.testing.assert_allclose(latents.from_seeds([1], 2), [[math.sqrt(106 * math.log(2)), 0]], rtol=1e-6)


def test_no_seeds_give_no_rows() -> None:
    assert latents.from_seeds([], 5).shape == (0, 5)


@pytest.mark.parametrize("seed", [-1, 2**53])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=rf"seeds must be in \[0, 2\^53\), got {seed}"):
        latents.from_seeds([3, seed], 2)


def test_truncation_scales_towards_zero() -> None:
    whole = latents.from_seeds([4, 5], 8)
    np.testing.assert_array_equal(latents.from_seeds([4, 5], 8, truncation=0.5), whole / 2)
    np.testing.assert_array_equal(latents.from_seeds([4, 5], 8, truncation=1.0), whole)
    for psi in (0.0, -0.5, 1.01, math.nan):
        with pytest.raises(ValueError, match="truncation must be in"):
            latents.from_seeds([4], 8, truncation=psi)


def array(*values: float) -> latents.Floats:
    return np.array(values, np.float32)


def test_lerp_by_hand() -> None:
    got = latents.lerp(array(0, 2), array(4, 0), np.array([0, 0.25, 1]))
    np.testing.assert_array_equal(got, [[0, 2], [1, 1.5], [4, 0]])


def test_slerp_by_hand() -> None:
    third = np.array([0, 1 / 3, 0.5, 1])
    # A quarter circle in thirds and halves: 30 and 45 degrees.
    half = math.sqrt(0.5)
    np.testing.assert_allclose(
        latents.slerp(array(1, 0), array(0, 1), third),
        np.array([[1, 0], [math.sqrt(0.75), 0.5], [half, half], [0, 1]]),
        atol=1e-7,
    )
    # Twice as long at one end: each end keeps its weight sin(45 deg) / sin(90 deg).
    np.testing.assert_allclose(
        latents.slerp(array(2, 0), array(0, 1), np.array([0.5])), [[2 * half, half]], atol=1e-7
    )


@pytest.mark.parametrize(
    ("a", "b", "middle"),
    [
        (array(1, 2), array(2, 4), array(1.5, 3)),
        (array(1, 2), array(1, 2), array(1, 2)),
        (array(1, 2), array(-1, -2), array(0, 0)),
        (array(0, 0), array(0, 2), array(0, 1)),
    ],
    ids=["parallel", "same", "opposite", "zero"],
)
def test_slerp_is_lerp_where_there_is_no_arc(
    a: latents.Floats, b: latents.Floats, middle: latents.Floats
) -> None:
    np.testing.assert_allclose(latents.slerp(a, b, np.array([0.5])), [middle], atol=1e-6)


def test_slerp_keeps_the_length_that_lerp_loses() -> None:
    a, b = latents.from_seeds([1, 2], 512)
    t = np.array([0.5])
    assert abs(float(np.linalg.norm(latents.slerp(a, b, t))) / math.sqrt(512) - 1) < 0.1
    assert float(np.linalg.norm(latents.lerp(a, b, t))) / math.sqrt(512) < 0.8


@pytest.mark.parametrize("path", ["slerp", "lerp"])
def test_a_walk_starts_and_ends_on_its_keys_to_the_bit(path: latents.Path) -> None:
    keys = latents.from_seeds([1, 2, 3], 64)
    frames = latents.walk(keys, 9, path)
    assert frames.shape == (9, 64)
    assert frames.dtype == np.float32
    for key, frame in zip(keys, (frames[0], frames[4], frames[8]), strict=True):
        assert key.tobytes() == frame.tobytes()


def test_a_walk_is_even_over_its_legs() -> None:
    keys = np.array([[0], [3], [30]], np.float32)
    # Four steps lie at 0, 2/3, 4/3 and 2 legs.
    np.testing.assert_allclose(latents.walk(keys, 4, "lerp"), [[0], [2], [12], [30]], rtol=1e-6)


def test_a_walk_passes_keys_by_when_they_outnumber_its_steps() -> None:
    keys = np.array([[i * i] for i in range(11)], np.float32)
    # Five steps lie 2.5 legs apart: at 2.5 the middle of 4 and 9, at 7.5 that of 49 and 64.
    np.testing.assert_array_equal(latents.walk(keys, 5, "lerp"), [[0], [6.5], [25], [56.5], [100]])


def test_a_closed_walk_goes_home_and_stops_short_of_it() -> None:
    keys = np.array([[0], [4], [20]], np.float32)
    # Six steps lie half a leg apart: 0, 0.5, 1, 1.5, 2 and 2.5 of the legs 0-4, 4-20, 20-0.
    got = latents.walk(keys, 6, "lerp", closed=True)
    np.testing.assert_array_equal(got, [[0], [2], [4], [12], [20], [10]])
    np.testing.assert_array_equal(latents.walk(keys[:2], 2, "lerp", closed=True), keys[:2])


def test_smoothstep_by_hand() -> None:
    keys = np.array([[0], [64], [0]], np.float32)
    # t = 1/4 gives 3/16 - 2/64 = 10/64; t = 3/4 gives 27/16 - 54/64 = 54/64.
    got = latents.walk(keys, 9, "lerp", easing="smoothstep")
    np.testing.assert_array_equal(got[:, 0], [0, 10, 32, 54, 64, 54, 32, 10, 0])
    with pytest.raises(ValueError, match="easing must be one of linear, smoothstep, got 'bounce'"):
        latents.walk(keys, 9, "lerp", easing="bounce")  # type: ignore[arg-type]  # what a caller might send


def test_paths_differ() -> None:
    keys = latents.from_seeds([1, 2], 16)
    assert not np.array_equal(latents.walk(keys, 3, "slerp")[1], latents.walk(keys, 3, "lerp")[1])


def test_a_walk_needs_two_keys_two_steps_and_a_known_path() -> None:
    keys = latents.from_seeds([1, 2], 4)
    with pytest.raises(ValueError, match="two keys and two steps or more, got 1 and 5"):
        latents.walk(keys[:1], 5, "lerp")
    with pytest.raises(ValueError, match="two keys and two steps or more, got 2 and 1"):
        latents.walk(keys, 1, "lerp")
    with pytest.raises(ValueError, match="path must be one of slerp, lerp, got 'arc'"):
        latents.walk(keys, 3, "arc")  # type: ignore[arg-type]  # what a caller might send

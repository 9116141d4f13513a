"""Seeds to latents, and paths between latents."""

import threading
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Path = Literal["slerp", "lerp"]
Easing = Literal["linear", "smoothstep"]
Prior = Literal["fitted", "normal"]

SEED_LIMIT = 2**53
# Below this sine of the angle two latents count as parallel, and slerp's formula as 0 / 0.
_PARALLEL = 1e-6
_11 = np.uint64(11)
_BLOCK = 4  # words that Philox-4x64 makes at a time


def from_seeds(seeds: Sequence[int], dim: int, truncation: float | None = None) -> Floats:
    """Draw latents from N(0, I), one a seed.

    Row i depends on seeds[i], `dim` and `truncation` alone. The bits come from Philox-4x64-10 (Salmon et al.
    2011, "Parallel random numbers: as easy as 1, 2, 3"), which computes its n-th block of four words from n alone
    and whose stream numpy promises to keep, unlike those of its distributions: of the stream of key 0, seed s has
    the blocks [s b, (s + 1) b), b being what a latent takes. Box & Muller (1958) make them normal.

    Args:
        seeds: each in [0, 2^53).
        dim: length of a latent.
        truncation: psi in (0, 1]: latents are scaled by psi towards their mean, which is 0
            (Karras et al. 2019, "A style-based generator architecture", appendix B, applied to z); None is 1.

    Returns:
        float32 (len(seeds), dim).

    Raises:
        ValueError: a seed or `truncation` is out of range.
    """
    ends = (seeds[0], seeds[-1]) if isinstance(seeds, range) and seeds else seeds
    if bad := [seed for seed in ends if not 0 <= seed < SEED_LIMIT]:
        raise ValueError(f"seeds must be in [0, 2^53), got {bad[0]}")
    if truncation is not None and not 0 < truncation <= 1:
        raise ValueError(f"truncation must be in (0, 1], got {truncation}")
    return from_checked_seeds(seeds, dim, 1.0 if truncation is None else truncation)


def from_checked_seeds(
    seeds: Sequence[int], dim: int, truncation: float | NDArray[np.float64] = 1.0
) -> Floats:
    """As `from_seeds`, of what is in range. `truncation`: one for all, or (len(seeds), 1)."""
    pairs = (dim + 1) // 2
    uniform = _unit(_blocks(seeds, -(-2 * pairs // _BLOCK)))
    # `radius` takes (0, 1] so that its logarithm is finite. In place: half of the time would go into temporary arrays.
    radius = uniform[:, :pairs] + 2.0**-53
    np.log(radius, out=radius)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    angle = uniform[:, pairs : 2 * pairs]
    angle *= 2.0 * np.pi
    normal = np.empty((len(seeds), 2 * pairs))
    np.cos(angle, out=normal[:, :pairs])
    np.sin(angle, out=normal[:, pairs:])
    normal[:, :pairs] *= radius
    normal[:, pairs:] *= radius
    z = np.empty((len(seeds), dim), np.float32)
    return np.multiply(normal[:, :dim], truncation, out=z, casting="same_kind")


def truncated(z: Floats, truncation: float | None) -> Floats:
    """Latents of any origin, scaled towards 0 as `from_seeds` scales its own."""
    return z if truncation is None else (z.astype(np.float64) * truncation).astype(np.float32)


def uniforms(seeds: Sequence[int]) -> NDArray[np.float64]:
    """A number in [0, 1) for each seed, (n,): independent of its latent, which is of the stream of another key."""
    return _unit(_blocks(seeds, 1, key=1)[:, 0])


def classes(seeds: Sequence[int], count: int) -> NDArray[np.int64]:
    """A class in [0, count) for each seed, (n,), all equally probable: independent of its latent, as `uniforms` is."""
    return (_unit(_blocks(seeds, 1, key=2)[:, 0]) * count).astype(np.int64)


def _unit(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """53 bits of each word, as a number in [0, 1)."""
    unit = np.right_shift(words, _11).astype(np.float64)
    unit *= 2.0**-53
    return unit


class _Stream:
    """A place in the stream of a key."""

    def __init__(self, key: int) -> None:
        self.generator, self.block = np.random.Philox(key=key), 0


class _Streams(threading.local):
    """Each thread has its own: to make a generator takes longer than to draw a latent from it."""

    def __init__(self) -> None:
        self.of_key = [_Stream(0), _Stream(1), _Stream(2)]


_streams = _Streams()


def _blocks(seeds: Sequence[int], blocks: int, key: int = 0) -> NDArray[np.uint64]:
    """Words (n, 4 blocks) of every seed. Seeds in a row, the usual case, are one piece of the stream: one draw."""
    stream, n, at = _streams.of_key[key], len(seeds), 0
    advance, random_raw = stream.generator.advance, stream.generator.random_raw
    words = np.empty((n, _BLOCK * blocks), np.uint64)
    while at < n:
        stop = at + 1
        while stop < n and seeds[stop] == seeds[stop - 1] + 1:
            stop += 1
        advance(seeds[at] * blocks - stream.block)  # modulo 2^256: backwards too
        drawn = random_raw((stop - at) * blocks * _BLOCK)
        stream.block = (seeds[stop - 1] + 1) * blocks
        words[at:stop] = drawn if stop == at + 1 else drawn.reshape(stop - at, -1)
        at = stop
    return words


def lerp(a: Floats, b: Floats, t: NDArray[np.float64]) -> Floats:
    """The straight line from `a` (t = 0) to `b` (t = 1): (dim,), (dim,), (n,) -> (n, dim)."""
    t = t[:, None]
    return ((1 - t) * a.astype(np.float64) + t * b.astype(np.float64)).astype(np.float32)


def slerp(a: Floats, b: Floats, t: NDArray[np.float64]) -> Floats:
    """The great arc from `a` (t = 0) to `b` (t = 1): (dim,), (dim,), (n,) -> (n, dim).

    Shoemake 1985, "Animating rotation with quaternion curves", with the angle taken between the
    directions, so that latents of two lengths are joined too: a path between draws of N(0, I) keeps the
    length that such draws have. Where the angle is (nearly) 0 or pi, or a latent is 0, no arc is
    defined: lerp.
    """
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a64) * np.linalg.norm(b64)
    cosine = np.clip(a64 @ b64 / lengths, -1.0, 1.0) if lengths > 0 else 1.0
    angle = np.arccos(cosine)
    if np.sin(angle) < _PARALLEL:
        return lerp(a, b, t)
    t = t[:, None]
    arc: NDArray[np.float64] = (np.sin((1 - t) * angle) * a64 + np.sin(t * angle) * b64) / np.sin(angle)
    return arc.astype(np.float32)


PATHS: dict[Path, Callable[[Floats, Floats, NDArray[np.float64]], Floats]] = {"slerp": slerp, "lerp": lerp}


# The time within a leg -> how much of the leg is done, both in [0, 1].
EASINGS: dict[Easing, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "linear": lambda t: t,
    "smoothstep": lambda t: t * t * (3 - 2 * t),
}


def walk(keys: Floats, steps: int, path: Path, *, closed: bool = False, easing: Easing = "linear") -> Floats:
    """`steps` latents along a path through all keys, evenly spaced in time, each leg as long as the next.

    Latent i lies at i legs / (steps - 1) legs from the first key; on a closed path at i legs / steps, so that the first
    would follow the last after the same time. The whole part of that is the leg; `easing` of the rest, t, is how
    much of the leg is done.

    Args:
        keys: (k, dim), k >= 2; a latent that lies at a key is that key, to the bit, as the first and the last do.
        steps: 2 or more, both ends counted.
        path: "slerp" or "lerp", for each leg.
        closed: one leg more, from the last key to the first, which is not repeated at the end.
        easing: "linear", or "smoothstep", 3 t^2 - 2 t^3: slow at every key.

    Returns:
        float32 (steps, dim).

    Raises:
        ValueError: fewer than two keys or steps, or an unknown path or easing.
    """
    if len(keys) < 2 or steps < 2:
        raise ValueError(f"a path needs two keys and two steps or more, got {len(keys)} and {steps}")
    if path not in PATHS:
        raise ValueError(f"path must be one of {', '.join(PATHS)}, got {path!r}")
    if easing not in EASINGS:
        raise ValueError(f"easing must be one of {', '.join(EASINGS)}, got {easing!r}")
    if closed:
        keys = np.concatenate([keys, keys[:1]])
    legs = len(keys) - 1
    intervals = steps if closed else steps - 1
    # Exact integers: step i lies at i * legs / intervals.
    ticks = np.arange(steps) * legs
    leg = np.minimum(ticks // intervals, legs - 1)
    t = EASINGS[easing]((ticks - leg * intervals) / intervals)
    return np.concatenate([PATHS[path](keys[i], keys[i + 1], t[leg == i]) for i in range(legs)])

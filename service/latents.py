"""Seeds to latents, and paths between latents."""

import itertools
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
    pairs = (dim + 1) // 2
    uniform = _unit(_blocks(seeds, -(-2 * pairs // _BLOCK)))
    # `radius` takes (0, 1] so that its logarithm is finite.
    radius = np.sqrt(-2.0 * np.log(uniform[:, :pairs] + 2.0**-53))
    angle = 2.0 * np.pi * uniform[:, pairs : 2 * pairs]
    normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :dim]
    return (normal * (1.0 if truncation is None else truncation)).astype(np.float32)


def truncated(z: Floats, truncation: float | None) -> Floats:
    """Latents of any origin, scaled towards 0 as `from_seeds` scales its own."""
    return z if truncation is None else (z.astype(np.float64) * truncation).astype(np.float32)


def uniforms(seeds: Sequence[int]) -> NDArray[np.float64]:
    """A number in [0, 1) for each seed, (n,): independent of its latent, which is of the stream of another key."""
    return _unit(_blocks(seeds, 1, key=1)[:, 0])


def _unit(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """53 bits of each word, as a number in [0, 1)."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


class _Stream:
    """A place in the stream of a key."""

    def __init__(self, key: int) -> None:
        self.generator, self.block = np.random.Philox(key=key), 0

    def read(self, block: int, count: int) -> NDArray[np.uint64]:
        """The words (4 count,) of `count` blocks from `block` on."""
        self.generator.advance(block - self.block)  # modulo 2^256: backwards too
        self.block = block + count
        return self.generator.random_raw(count * _BLOCK)


class _Streams(threading.local):
    """Each thread has its own: to make a generator takes longer than to draw a latent from it."""

    def __init__(self) -> None:
        self.of_key = [_Stream(0), _Stream(1)]


_streams = _Streams()


def _blocks(seeds: Sequence[int], blocks: int, key: int = 0) -> NDArray[np.uint64]:
    """Words (n, 4 blocks) of every seed. Seeds in a row, the usual case, are one piece of the stream: one draw."""
    stream = _streams.of_key[key]
    if len(seeds) == 1 or (isinstance(seeds, range) and seeds.step == 1 and seeds):
        return stream.read(seeds[0] * blocks, len(seeds) * blocks).reshape(len(seeds), -1)
    words = np.empty((len(seeds), _BLOCK * blocks), np.uint64)
    steps = np.diff(np.asarray(seeds, np.int64))
    starts = [0, *(np.flatnonzero(steps != 1) + 1).tolist(), len(seeds)]
    for start, stop in itertools.pairwise(starts if seeds else ()):
        words[start:stop] = stream.read(seeds[start] * blocks, (stop - start) * blocks).reshape(
            stop - start, -1
        )
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

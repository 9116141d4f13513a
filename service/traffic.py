"""Weights between the versions of a model: who gets which, of the requests that name none.

`models/<name>/traffic.json`, `{"2": 0.9, "3": 0.1}`; without it, all get the newest. Weights need not sum to 1.
"""

import hashlib
import json
import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from service.manifest import BundleError, read_plain

FILE = "traffic.json"
_MOST_BYTES = 64 * 1024


@dataclass(frozen=True)
class Traffic:
    """`weights` by version: finite, not negative, one above 0."""

    weights: Mapping[int, float]

    def shares(self, versions: Sequence[int]) -> dict[int, float]:
        """What each of `versions` (one or more, ascending) gets: they sum to 1.

        Versions without a weight get nothing; where none has one, all goes to the newest.
        """
        weights = {version: self.weights.get(version, 0.0) for version in versions}
        total = sum(weights.values())
        if total == 0:
            return {version: float(version == versions[-1]) for version in versions}
        return {version: weight / total for version, weight in weights.items()}

    def version(self, key: bytes, versions: Sequence[int]) -> int:
        """One of `versions`: the same for the same key, and keys fall evenly."""
        shares = {version: share for version, share in self.shares(versions).items() if share > 0}
        ends = list(accumulate(shares.values()))
        # 53 bits, so that the quotient is below 1.
        point = (int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 11) / 2**53
        return list(shares)[min(bisect_right(ends, point), len(ends) - 1)]


def read(path: Path) -> Traffic:
    """Read a `traffic.json`.

    Raises:
        BundleError: it is not what the head of this file says.
    """
    try:
        raw = json.loads(read_plain(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(raw, dict):
        raise BundleError(f'{path}: expected a JSON object of weights by version, {{"2": 0.9, "3": 0.1}}')
    for version, weight in raw.items():
        if not re.fullmatch(r"[1-9][0-9]{0,8}", version):
            raise BundleError(f"{path}: {version!r} is not the number of a version")
        if type(weight) not in (int, float) or not 0 <= weight < math.inf:
            raise BundleError(
                f"{path}: the weight of {version} must be a number of 0 or more, got {weight!r}"
            )
    if not sum(raw.values()) > 0:
        raise BundleError(f"{path}: a weight must be above 0")
    return Traffic({int(version): float(weight) for version, weight in raw.items()})

"""How a value falls in the course of a run."""

import math


def half_cosine(first: float, last: float, fraction: float) -> float:
    """`first` at fraction 0, `last` at 1, and half a cosine between them (Loshchilov & Hutter 2017, eq. 5)."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * fraction))

"""What was measured, and how: the content of `metrics.json`."""

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from training.errors import EvaluationError


@dataclass(frozen=True)
class Result:
    name: str
    value: float
    unit: str
    protocol: str
    n: int
    seed: int | None
    seconds: float


def seconds_since(started: float) -> float:
    """Since `time.monotonic()` was `started`, as a result holds them."""
    return round(time.monotonic() - started, 2)


@dataclass(frozen=True)
class Curve:
    """Stated probabilities of "real" against what was found, of each bin that holds an image, in order."""

    probability: tuple[float, ...]
    frequency: tuple[float, ...]
    count: tuple[int, ...]


@dataclass(frozen=True)
class Calibration:
    """How a discriminator's logit becomes a probability, and how right that is on held-out images."""

    curves: dict[str, Curve]
    """By kind of scaling; "raw" is none."""
    knots: tuple[tuple[float, float], ...]
    """(logit, log odds) of the piecewise linear scaling, which is served."""
    fitted_on: str


@dataclass(frozen=True)
class Report:
    """What `metrics.json` holds."""

    model: str
    dataset: str
    train_sha256: str
    test_sha256: str
    images_seen: int
    """By the weights that were measured."""
    classifier: str | None
    classifier_sha256: str | None
    results: tuple[Result, ...]
    calibration: Calibration | None = None
    """Of a discriminator."""

    def values(self) -> dict[str, float]:
        return {result.name: result.value for result in self.results}

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """Raises EvaluationError for anything that `to_json` of this version does not write."""
        try:
            raw = json.loads(text)
            results = tuple(Result(**result) for result in raw["results"])
            calibration = _calibration(raw.get("calibration"))
            return cls(**{**raw, "results": results, "calibration": calibration})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EvaluationError(f"metrics.json is not understood ({error}): evaluate again") from error

    def differences(self, other: "Report", tolerance: float = 0.01) -> list[str]:
        """Where `other` is not this report: other data, another classifier, values further off than `tolerance`.

        Values that only this report has are no difference: they were not measured yet when `other` was written.
        """
        found = [
            f"{key}: {getattr(self, key)} here, {getattr(other, key)} there"
            for key in ("train_sha256", "test_sha256", "classifier_sha256", "images_seen")
            if getattr(self, key) != getattr(other, key)
        ]
        here = self.values()
        for name, value in other.values().items():
            # A value near 0 (a fraction, an error) is held to a hundredth of 1.
            if name not in here or abs(here[name] - value) > tolerance * max(abs(value), 0.1):
                found.append(f"{name}: {here.get(name, float('nan')):.5g} here, {value:.5g} there")
        return found


def _calibration(raw: Any) -> Calibration | None:
    if raw is None:
        return None
    curves = {
        name: Curve(**{key: tuple(values) for key, values in curve.items()})
        for name, curve in raw["curves"].items()
    }
    return Calibration(**{**raw, "curves": curves, "knots": tuple((x, y) for x, y in raw["knots"])})

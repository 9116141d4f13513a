"""What was measured, and how: the content of `metrics.json`."""

import json
from dataclasses import asdict, dataclass

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

    def values(self) -> dict[str, float]:
        return {result.name: result.value for result in self.results}

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """Raises EvaluationError for anything that `to_json` of this version does not write."""
        try:
            raw = json.loads(text)
            return cls(**{**raw, "results": tuple(Result(**result) for result in raw["results"])})
        except (ValueError, TypeError, KeyError) as error:
            raise EvaluationError(f"metrics.json is not understood ({error}): evaluate again") from error

    def differences(self, other: "Report", tolerance: float = 0.01) -> list[str]:
        """Where `other` is not this report: other data, another classifier, values further off than `tolerance`."""
        found = [
            f"{key}: {getattr(self, key)} here, {getattr(other, key)} there"
            for key in ("train_sha256", "test_sha256", "classifier_sha256", "images_seen")
            if getattr(self, key) != getattr(other, key)
        ]
        theirs = other.values()
        for name, value in self.values().items():
            # A value near 0 (a fraction, an error) is held to a hundredth of 1.
            if name not in theirs or abs(value - theirs[name]) > tolerance * max(abs(theirs[name]), 0.1):
                found.append(f"{name}: {value:.5g} here, {theirs.get(name, float('nan')):.5g} there")
        return found

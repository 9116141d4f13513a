"""What was measured, and how: the content of `metrics.json`."""

import json
from dataclasses import asdict, dataclass


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
    dataset_sha256: str
    classifier: str | None
    classifier_sha256: str | None
    results: tuple[Result, ...]

    def values(self) -> dict[str, float]:
        return {result.name: result.value for result in self.results}

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Report":
        raw = json.loads(text)
        return cls(**{**raw, "results": tuple(Result(**result) for result in raw["results"])})

"""What the page says of the benchmark's raw results (the JSON that load_tests/bench.py writes)."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from load_tests.peers.sampler import NPY
from load_tests.run import MAX_LIMIT_DRIFT, MAX_RATIO

Table = dict[str, Any]
LATENTRY = "latentry"
MIB = 2**20
MAX_BUSY = 0.1
"""Beyond it, as a part of all cores, other programs took what the servers were measured with."""


@dataclass(frozen=True)
class Rate:
    """Of one cell over its rounds: the mean, the lowest and the highest."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Rate | None":
        return cls(mean(values), min(values), max(values)) if values else None

    @property
    def spread(self) -> float:
        """How far the lowest lies below the highest, as a part of it."""
        return 1 - self.low / self.high if self.high else 0.0


@dataclass(frozen=True)
class Cell:
    """A closed loop: requests a second; `p50_ms` the mean of the rounds, `p99_ms` the worst."""

    rps: Rate
    p50_ms: float | None
    p99_ms: float | None
    failed: int


@dataclass(frozen=True)
class Row:
    """A server's results; what was not measured is None."""

    name: str
    raw: Table

    @property
    def label(self) -> str:
        return str(self.raw["label"])

    def cell(self, n: int, media_type: str, connections: int) -> Cell | None:
        key = (n, media_type, connections)
        found = [c for c in self.raw["closed"] if (c["n"], c["media_type"], c["connections"]) == key]
        rps = Rate.of([c["rps"] for c in found])
        if rps is None:
            return None
        p50s = [c["p50_ms"] for c in found if c["p50_ms"] is not None]
        p99s = [c["p99_ms"] for c in found if c["p99_ms"] is not None]
        failed = sum(sum(c["failed"].values()) for c in found)
        return Cell(rps, mean(p50s) if p50s else None, max(p99s, default=None), failed)

    def rps(self, n: int, media_type: str = NPY, connections: int = 16) -> Rate | None:
        found = self.cell(n, media_type, connections)
        return found.rps if found else None

    def goodput(self) -> Rate | None:
        """Requests a second at n = 1, npy."""
        return Rate.of([found["goodput_rps"] for found in self.raw["open"]])

    def start_s(self) -> Rate | None:
        return Rate.of(self.raw["start_s"])

    def memory_mib(self) -> Rate | None:
        """PSS of all its processes, after the load."""
        return Rate.of([sum(p["pss_bytes"] for p in turn) / MIB for turn in self.raw["memory"] if turn])

    def largest_mib(self) -> Rate | None:
        """PSS of its largest process."""
        return Rate.of([turn[0]["pss_bytes"] / MIB for turn in self.raw["memory"] if turn])

    def environment_mib(self) -> Rate | None:
        return Rate.of([self.raw["environment_bytes"] / MIB] if "environment_bytes" in self.raw else [])

    def processes(self) -> int | None:
        return max((len(turn) for turn in self.raw["memory"] if turn), default=None)


def rows(table: Table) -> list[Row]:
    """In the order of the file."""
    return [Row(name, raw) for name, raw in table["servers"].items()]


def limit_images_per_s(table: Table, n: int) -> Rate | None:
    """What onnxruntime alone does in batches of n, beside each cell of Latentry with n images."""
    return Rate.of([rate for limit in table["limits"] if limit["n"] == n for rate in _sides(limit)])


def _sides(limit: dict[str, Any]) -> list[float]:
    """Before a cell, and after it, unless it was interrupted."""
    return [limit[side] for side in ("before", "after") if side in limit]


def part_of_limit(table: Table, n: int, media_type: str, connections: int) -> Rate | None:
    """Of Latentry's images a second: each round beside the mean of what was measured there."""
    key = {"n": n, "media_type": media_type, "connections": connections}
    limits = {
        limit["round"]: mean(_sides(limit)) for limit in table["limits"] if key.items() <= limit.items()
    }
    cells = table["servers"].get(LATENTRY, {"closed": []})["closed"]
    return Rate.of(
        [
            n * cell["rps"] / limits[cell["round"]]
            for cell in cells
            if key.items() <= cell.items() and cell["round"] in limits
        ]
    )


def doubts(table: Table) -> list[str]:
    """Why the numbers may not be the servers' own; empty: no reason was found."""
    found = []
    for n in (1, 64):
        limit = limit_images_per_s(table, n)
        if limit is None:
            continue
        if limit.spread > MAX_LIMIT_DRIFT:
            found.append(f"the limit at n = {n} moved by {limit.spread:.0%} between its measurements")
        best = max((rate.mean for row in rows(table) if (rate := row.rps(n))), default=0.0)
        if (part := n * best / limit.mean) > MAX_RATIO:
            found.append(f"at n = {n} a server had {part:.2f} of a limit that nothing outruns")
    busy = max((limits["busy"] for limits in table["limits"]), default=0.0)
    if busy > MAX_BUSY:
        found.append(f"other programs had up to {busy:.0%} of the cores between the rounds")
    if table["settings"]["quick"]:
        found.append("this is the quick form")
    return found


def generator_cpu(table: Table) -> float:
    """The most that the generator took of one core in any closed loop."""
    return max((cell["cpu"] for row in rows(table) for cell in row.raw["closed"]), default=0.0)

"""Raw results of a benchmark, as load_tests/bench.py writes them, with numbers that are easily followed."""

from typing import Any

from load_tests.peers.sampler import NPY, PNG


def table(**rps: list[float]) -> dict[str, Any]:
    """A row for each server: its requests a second in each round, at n = 1 and npy; a 64th at n = 64, half as PNG."""
    rounds = max((len(rates) for rates in rps.values()), default=1)
    return {
        "machine": {
            "date": "2026-01-02",
            "commit": "abc1234",
            "cpu": "Test CPU",
            "cores": 2,
            "memory_bytes": 8 * 2**30,
            "system": "Linux 6.1",
        },
        "settings": {
            "rounds": rounds,
            "seconds": 2.0,
            "open_seconds": 2.0,
            "steady_seconds": 5.0,
            "quick": False,
        },
        "workers": 2,
        "limits": [
            {"round": i, "n": n, "media_type": media_type, "connections": connections}
            | {"busy": 0.02, "before": images_per_s, "after": images_per_s}
            for i in range(1, rounds + 1)
            for n, images_per_s in ((1, 2000.0), (64, 8000.0))
            for media_type in (NPY, PNG)
            for connections in (1, 16, 64)
        ],
        "servers": {name: row(name, rates) for name, rates in rps.items()},
    }


def row(name: str, rates: list[float]) -> dict[str, Any]:
    return {
        "label": name.title(),
        "how": f"`serve {name}`",
        "docs": f"https://example.org/{name}",
        "versions": {name: "1.2.3"} if rates else {},
        "environment_bytes": 100 * 2**20,
        "start_s": [2.0] * len(rates),
        "memory": [[{"command": name, "pss_bytes": 50 * 2**20, "rss_bytes": 80 * 2**20}] * 3] * len(rates),
        "closed": [
            {"round": i, "n": n, "media_type": media_type, "connections": connections}
            | load(rate / n / (1 if media_type == NPY else 2))
            for i, rate in enumerate(rates, 1)
            for n in (1, 64)
            for media_type in (NPY, PNG)
            for connections in (1, 16, 64)
        ],
        "open": [{"round": i, "goodput_rps": 0.8 * rate, "steps": []} for i, rate in enumerate(rates, 1)],
        "steady": [],
        "beside": [],
        "faults": [],
    }


def load(rps: float) -> dict[str, Any]:
    latencies = {"p50_ms": 5.0, "p90_ms": 8.0, "p99_ms": 12.5, "max_ms": 20.0}
    counts = {
        "seconds": 2.0,
        "sent": 100,
        "ok": 100,
        "failed": {},
        "offered": rps,
        "rps": rps,
        "body_bytes": 9,
    }
    return {**counts, **latencies, "cpu": 0.25}

"""Load-test the service: `make load`, or `python -m load_tests.run [SCENARIO ...]`.

Starts the service, runs the scenarios of budgets.toml one after the other, and writes CSV, HTML and a chart to
load_tests/results/. Exit status 1: a budget is not kept, or the measurement is void.
"""

import argparse
import csv
import math
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Literal, get_args

from matplotlib.figure import Figure

from load_tests import limit
from service.client import Client
from service.manifest import OperationName
from service.settings import load_settings
from tests.service.server import serve

HERE = Path(__file__).parent
# Beyond either, another program had part of the machine, and the ratio says nothing, however good it looks.
MAX_LIMIT_DRIFT = 0.15
MAX_RATIO = 1.05
Role = Literal["generator", "autoencoder"]


@dataclass(frozen=True)
class Scenario:
    """A table of budgets.toml, where the fields are described."""

    name: str
    user: str
    users: int
    images: int
    max_p99_over_p50: float
    min_ratio: float | None = None
    model: Role | None = None
    graphs: Sequence[OperationName] = ()

    def __post_init__(self) -> None:
        if (self.min_ratio is None) != (self.model is None or not self.graphs):
            raise ValueError(f"budgets.toml: [{self.name}] min_ratio, model and graphs go together")
        if self.model not in (None, *get_args(Role)):
            raise ValueError(f"budgets.toml: [{self.name}] model is {self.model!r}; known: {get_args(Role)}")


@dataclass(frozen=True)
class Result:
    """`ratio` is images/s of the service over `limit_images_per_s`, both the mean of their rounds.

    `limit_drift` is how far the lowest of the limits lay below the highest, as a part of it. All three are None without
    a limit. `p50_ms` is the mean of the rounds, `p99_ms` the worst.
    """

    scenario: str
    requests: int
    failures: int
    images_per_s: float
    limit_images_per_s: float | None
    limit_drift: float | None
    ratio: float | None
    p50_ms: float
    p99_ms: float

    def faults(self, budget: Scenario) -> list[str]:
        """Why the result does not show that its budget is kept; empty: it does."""
        if self.requests == 0:
            return ["no request was answered"]
        faults = []
        if self.failures:
            faults.append(f"{self.failures} of {self.requests} requests failed")
        if budget.min_ratio is not None and (self.ratio is None or self.ratio < budget.min_ratio):
            faults.append(f"ratio {self.ratio or 0:.2f} < {budget.min_ratio}")
        if self.ratio is not None and self.ratio > MAX_RATIO:
            faults.append(
                f"void: ratio {self.ratio:.2f}, but nothing outruns its limit; measure on an idle machine"
            )
        if self.limit_drift is not None and self.limit_drift > MAX_LIMIT_DRIFT:
            faults.append(f"void: the limit moved by {self.limit_drift:.0%}; measure on an idle machine")
        if self.p99_ms > budget.max_p99_over_p50 * self.p50_ms:
            faults.append(f"p99 {self.p99_ms:.0f} ms > {budget.max_p99_over_p50} x p50 {self.p50_ms:.0f} ms")
        return faults


def load_budgets(path: Path) -> list[Scenario]:
    with path.open("rb") as stream:
        return [Scenario(name=name, **table) for name, table in tomllib.load(stream).items()]


def run(scenario: Scenario, url: str, bundles: dict[Role, Path], args: argparse.Namespace) -> Result:
    """One scenario: limit, load, limit, load, ..., limit, so that a machine that slows down slows both."""

    def measure_limit() -> list[float]:
        if scenario.model is None:
            return []
        bundle = bundles[scenario.model]
        processes = load_settings().workers
        return [
            limit.images_per_s(
                bundle, scenario.graphs, scenario.images, processes=processes, seconds=args.limit_seconds
            )
        ]

    limits, rows = measure_limit(), []
    for i in range(args.rounds):
        rows.append(locust(scenario, url, bundles, args, args.out / f"{scenario.name}-{i + 1}"))
        limits += measure_limit()
    answered = [row for row in rows if int(row["Request Count"])]
    images_per_s = scenario.images * mean(float(row["Requests/s"]) for row in rows)
    best = mean(limits) if limits else None
    return Result(
        scenario=scenario.name,
        requests=sum(int(row["Request Count"]) for row in rows),
        failures=sum(int(row["Failure Count"]) for row in rows),
        images_per_s=images_per_s,
        limit_images_per_s=best,
        limit_drift=1 - min(limits) / max(limits) if limits else None,
        ratio=None if best is None else images_per_s / best,
        p50_ms=mean(float(row["50%"]) for row in answered) if answered else math.nan,
        p99_ms=max(float(row["99%"]) for row in answered) if answered else math.nan,
    )


def locust(
    scenario: Scenario, url: str, bundles: dict[Role, Path], args: argparse.Namespace, output: Path
) -> dict[str, str]:
    """Run locust in a process of its own; gives the row of its CSV that sums up all requests."""
    command = [sys.executable, "-m", "locust", "-f", str(HERE / "locustfile.py"), scenario.user]
    command += ["--headless", "--reset-stats", "--only-summary", "--exit-code-on-error=0"]
    command += [f"--host={url}", f"--run-time={args.seconds}s", f"--images={scenario.images}"]
    command += [f"--users={scenario.users}", f"--spawn-rate={scenario.users}"]
    command += [f"--csv={output}", f"--html={output}.html", "--loglevel=WARNING"]
    command += [f"--{role}={bundle.parent.name}" for role, bundle in bundles.items()]
    with output.with_suffix(".log").open("w") as stream:
        subprocess.run(
            command,
            cwd=HERE.parent,
            stdout=stream,
            stderr=subprocess.STDOUT,
            check=True,
            timeout=args.seconds + 120,
        )
    with output.with_name(f"{output.name}_stats.csv").open() as stream:
        return next(row for row in csv.DictReader(stream) if row["Name"] == "Aggregated")


def find_bundles(url: str, models_dir: Path, names: dict[Role, str]) -> dict[Role, Path]:
    """Folders of the models that the service uses for these names."""
    with Client(url) as client:
        served = {role: client.model(name) for role, name in names.items()}
    return {role: models_dir / model.name / str(model.version) for role, model in served.items()}


def report(results: Sequence[Result], budgets: dict[str, Scenario]) -> bool:
    """Print the table; whether all budgets are kept."""
    print(
        f"\n{'scenario':<16}{'requests':>9}{'images/s':>10}{'limit':>9}{'ratio':>7}{'p50 ms':>8}{'p99 ms':>8}"
    )
    kept = True
    for r in results:
        of_limit = "" if r.ratio is None else f"{r.limit_images_per_s:>9,.0f}{r.ratio:>7.2f}"
        faults = r.faults(budgets[r.scenario])
        kept &= not faults
        print(
            f"{r.scenario:<16}{r.requests:>9,}{r.images_per_s:>10,.0f}{of_limit:>16}{r.p50_ms:>8.0f}{r.p99_ms:>8.0f}"
            f"  {'NOT KEPT: ' + '; '.join(faults) if faults else 'ok'}"
        )
    return kept


def write(results: Sequence[Result], budgets: dict[str, Scenario], out: Path) -> None:
    """`results.csv`, and `chart.png`: each scenario's images/s as a part of the limit, beside its budget."""
    with (out / "results.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(asdict(results[0])))
        writer.writeheader()
        writer.writerows(asdict(result) for result in results)
    with_limit = [result for result in results if result.ratio is not None]
    if not with_limit:
        return
    figure = Figure(figsize=(8, 0.6 * len(with_limit) + 1.2), layout="constrained")
    axes = figure.subplots()
    names = [result.scenario for result in with_limit]
    axes.barh(names, [result.ratio or 0.0 for result in with_limit], color="#4878a8", label="measured")
    floors = [budgets[name].min_ratio or 0.0 for name in names]
    axes.plot(floors, names, "|", color="#c03030", markersize=24, markeredgewidth=2, label="budget")
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xlabel("images/s of the service, as a part of onnxruntime alone")
    axes.invert_yaxis()
    axes.legend(loc="lower right")
    figure.savefig(out / "chart.png", dpi=120)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", help="of budgets.toml (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="of load a scenario (default 3)")
    parser.add_argument("--seconds", type=int, default=5, help="of load a round (default 5)")
    parser.add_argument("--limit-seconds", type=float, default=2.0, help="each time the limit is measured")
    parser.add_argument("--generator", default="mnist-gan", help="model of sample, decode and score")
    parser.add_argument("--autoencoder", default="mnist-vae", help="model of the others")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    budgets = {scenario.name: scenario for scenario in load_budgets(HERE / "budgets.toml")}
    if unknown := set(args.scenarios) - set(budgets):
        print(
            f"unknown scenarios: {', '.join(sorted(unknown))}; known: {', '.join(budgets)}", file=sys.stderr
        )
        return 2
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    models_dir = load_settings().models_dir
    names: dict[Role, str] = {"generator": args.generator, "autoencoder": args.autoencoder}
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="latentry-load-") as scratch,
        serve(models_dir, Path(scratch)) as url,
    ):
        bundles = find_bundles(url, models_dir, names)
        for name in args.scenarios or budgets:
            print(f"{name} ...", flush=True)
            results.append(run(budgets[name], url, bundles, args))
    write(results, budgets, args.out)
    kept = report(results, budgets)
    print(f"\nCSV, HTML and chart: {args.out}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

"""schemathesis against a running service: all of `/docs.json`, with what it allows and what it does not."""

import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.memory import peak_bytes
from tests.service import bundles
from tests.service.server import ROOT, Service, running

CONFIG = Path(__file__).with_name("schemathesis.toml")
# Small answers, so that cases are many.
LIMITS: dict[str, Any] = {
    "max_images": 16,
    "max_streamed_images": 32,
    "max_latents": 16,
    "max_proposals": 64,
    "max_importance_samples": 64,
    "max_body_bytes": 1024 * 1024,
    "max_pixels": 10_000,
    "request_timeout_s": 10,
}
WORKERS = 2
MOST_GROWTH_MIB = 64
"""Of a process, beyond what it held after some requests of each kind.

Requests come one by one. The most is had from a body of `max_body_bytes` that is a list of empty lists in JSON, each
of 3 bytes, and 64 as an object and its place in a list: 22 MiB; its text, and what it is checked into, are as much
again at the most. Images, frames and answers within these limits are smaller by far.
"""
ASKED_MUCH = 15
"""Operations that take something, so that there is something to vary; the others are asked a few times."""
# Left out are those of APIs that keep what they are given, or ask for keys; and `positive_data_acceptance`: which
# labels, sizes and graphs there are is up to the model, and no schema can say it.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
)
PHASES = ("examples", "coverage", "fuzzing")


@dataclass(frozen=True)
class Asked:
    """What became of a run. `log`: what schemathesis said, with a curl line for each finding."""

    cases: int
    seconds: float
    failures: list[str]
    log: str


def ask(url: str, examples: int, phases: Sequence[str] = PHASES, checks: Sequence[str] = CHECKS) -> Asked:
    """Have schemathesis ask for everything that the service at `url` describes.

    Args:
        examples: most cases of each operation in the phase `fuzzing`; the other phases have as many as they have.
    """
    with tempfile.TemporaryDirectory(prefix="latentry-fuzz-") as scratch:
        report = Path(scratch) / "report.json"
        done = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "schemathesis.cli",
                    f"--config-file={CONFIG}",
                    "run",
                    f"{url}/docs.json",
                ),
                *(f"--phases={','.join(phases)}", f"--checks={','.join(checks)}"),
                *(f"--max-examples={examples}", f"--report-json-path={report}", "--no-color"),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            errors="replace",
        )
        if not report.exists():
            raise RuntimeError(f"schemathesis did not run:\n{done.stdout[-4000:]}")
        told = json.loads(report.read_text())
    failures = [f"{each['title']}: {', '.join(each['operations'])}" for each in told["failures"]]
    failures += [each["title"] for each in told["errors"]]
    if done.returncode and not failures:
        failures = [f"status {done.returncode}"]
    return Asked(told["test_cases"]["generated"], told["running_time"], failures, done.stdout)


def run(cases: int) -> bool:
    """Ask a service of the tiny models so many times or more; whether nothing was found."""
    with tempfile.TemporaryDirectory(prefix="latentry-fuzz-") as folder:
        models, scratch = Path(folder) / "models", Path(folder) / "scratch"
        scratch.mkdir()
        shutil.copytree(ROOT / "models", models)  # of which the examples are
        bundles.write_all(models)
        with running(models, scratch, workers=WORKERS, **LIMITS) as service:
            ask(service.url, 5, ["fuzzing"])  # what is loaded when it is first used
            before = peaks_mib(service)
            # A fifth and more comes from the other phases.
            asked = ask(service.url, math.ceil(0.8 * cases / ASKED_MUCH))
            after = peaks_mib(service)
            log = service.log.read_text()
    faults = list(asked.failures)
    if asked.cases < cases:
        faults.append(f"{asked.cases:,} cases are fewer than {cases:,}")
    if after.keys() != before.keys():
        faults.append("a process died")
    grown = [after[pid] - before[pid] for pid in after.keys() & before.keys()]
    if max(grown) > MOST_GROWTH_MIB:
        faults.append(f"a process grew by {max(grown):.0f} MiB; allowed: {MOST_GROWTH_MIB}")
    if "Traceback" in log:
        faults.append(f"the service logged\n{log[log.index('Traceback') :][:2000]}")
    told = f"{asked.cases:,} cases in {asked.seconds:.0f} s, processes grew by {max(grown):.0f} MiB at most: "
    print(told + ("nothing found" if not faults else f"FOUND\n{asked.log}\n" + "\n".join(faults)), flush=True)
    return not faults


def peaks_mib(service: Service) -> dict[int, float]:
    """The most that each process of a service ever held, by its id."""
    return {pid: peak_bytes(pid) / 2**20 for pid in (service.process.pid, *service.workers())}

"""The parts of the chaos: each starts a service of two workers, and does it some harm."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from load_tests.chaos.answers import capacity_rps
from load_tests.chaos.beyond import beyond
from load_tests.chaos.kills import Kills, Stop, in_turns, kills, stop
from load_tests.chaos.promises import Figures
from load_tests.chaos.reloads import Reloads, copy_of, reloads
from load_tests.chaos.slow import Slow, slow
from load_tests.chaos.storms import NORMAL, Timeouts, Wave, timeouts, wave
from load_tests.generator import Request, run_loop
from service import manifest
from tests.service.server import ROOT, Service, running

MODELS = ROOT / "models"
MODEL = MODELS / "mnist-gan" / str(manifest.versions(MODELS / "mnist-gan")[-1])
NPY = "application/x-npy"
REQUEST, LONG, LONGEST = (
    Request(f"/sample?model={MODEL.parent.name}&n={n}&seed={{seed}}", NPY) for n in (64, 1024, 10_000)
)
CAPACITY_S = 3.0
HEAD_S, PATIENCE_S = 3.0, 6.0
"""Of the service that slow clients are to meet: so that their time is over within the part."""


def _kills(python: Path, scratch: Path) -> Kills:
    (scratch / "fresh").mkdir()
    with running(MODELS, scratch, python=python, workers=2) as service:
        killed = run_loop(kills(service, REQUEST))
        with running(MODELS, scratch / "fresh", python=python, workers=2) as fresh:
            return Kills(killed, *in_turns([service, fresh], REQUEST))


def _stop(python: Path, scratch: Path) -> Stop:
    with running(MODELS, scratch, python=python, workers=2, drain_s=0.5) as service:
        return run_loop(stop(service, REQUEST))


def _reloads(python: Path, scratch: Path) -> Reloads:
    root, away, model = scratch / "models", scratch / "away", MODEL.parent.name
    shutil.copytree(MODEL, root / model / MODEL.name)
    with running(root, scratch, python=python, workers=2, admin=True) as service:
        return reloads(service, model, root, away, copy_of(MODEL))


def _wave(python: Path, scratch: Path) -> Wave:
    with running(MODELS, scratch, python=python, workers=2) as service:
        return run_loop(wave(service.url, REQUEST, _normal_rps(service), long=LONG))


def _timeouts(python: Path, scratch: Path) -> Timeouts:
    with running(MODELS, scratch, python=python, workers=2) as service:
        return run_loop(timeouts(service.url, REQUEST, _normal_rps(service)))


def _slow(python: Path, scratch: Path) -> Slow:
    with running(
        MODELS, scratch, python=python, workers=2, head_timeout_s=HEAD_S, request_timeout_s=PATIENCE_S
    ) as service:
        return run_loop(slow(service, REQUEST, _normal_rps(service), long=LONGEST))


def _normal_rps(service: Service) -> float:
    return NORMAL * run_loop(capacity_rps(service.url, REQUEST, CAPACITY_S))


@dataclass(frozen=True)
class Part:
    """`how`: what is done, in words."""

    how: str
    run: Callable[[Path, Path], Figures]

    def figures(self, python: Path) -> Figures:
        """Do it, with the service run by this interpreter."""
        with tempfile.TemporaryDirectory(prefix="latentry-chaos-") as scratch:
            return self.run(python, Path(scratch))


PARTS = {
    "kills": Part("`kill -9` of a worker, five times, under a closed loop of 16 connections", _kills),
    "stop": Part("SIGTERM under the same load", _stop),
    "reloads": Part(
        "every 2 seconds a new version of a model comes and the oldest goes, every third is damaged; requests of 5 and "
        "300 images all the while",
        _reloads,
    ),
    "waves": Part(
        "beside half of what the service can do, 300 clients ask for 64 or 1,024 images, leave after 0.1 to 0.5 "
        "seconds and come again, for 4 seconds",
        _wave,
    ),
    "timeouts": Part(
        "beside half of what the service can do, three times what it can do with `X-Request-Timeout-Ms: 30`, for 4 "
        "seconds",
        _timeouts,
    ),
    "slow": Part(
        "beside half of what the service can do, half heads, half bodies, and readers of 10,000 images who read "
        f"nothing; a head has {HEAD_S:g} seconds here, a request {PATIENCE_S:g}",
        _slow,
    ),
    "overload": Part(
        "requests of 64 images, five times as many as the service can do, for a minute, three times; before and "
        "after each of them closed loops, and arrivals at rates near what these had",
        beyond,
    ),
}

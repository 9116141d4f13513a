import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from service import telemetry
from service.registry import Registry
from service.telemetry import metrics
from service.telemetry.metrics import _SECONDS, _observe
from service.telemetry.record import AT_ONCE, FLUSH_S

ROOT = Path(__file__).resolve().parents[2]


def sample(text: str, name: str, **labels: str) -> float:
    """The value of one series; 0 where it is not there yet."""
    for family in text_string_to_metric_families(text):
        for found in family.samples:
            if found.name == name and found.labels == labels:
                return float(found.value)
    return 0.0


def now(name: str, **labels: str) -> float:
    return sample(telemetry.render()[0].decode(), name, **labels)


def run(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


@pytest.fixture(autouse=True)
def _served(registry: Registry) -> None:
    telemetry.serving(registry.models())


def test_many_values_are_observed_as_each_by_itself() -> None:
    values = [0.0, 0.001, 0.0011, 0.02, 0.02, 30.0, 31.0]  # the bounds of buckets are in them
    together, apart = CollectorRegistry(), CollectorRegistry()
    _observe(Histogram("h", "", buckets=_SECONDS, registry=together), values)
    one_by_one = Histogram("h", "", buckets=_SECONDS, registry=apart)
    for value in values:
        one_by_one.observe(value)

    def told(registry: CollectorRegistry) -> list[tuple[str, dict[str, str], float]]:
        samples = [found for family in registry.collect() for found in family.samples]
        return [(s.name, s.labels, s.value) for s in samples if not s.name.endswith("_created")]

    assert told(together) == told(apart)
    assert len(told(apart)) == len(_SECONDS) + 3


def test_a_call_is_counted_by_operation_model_and_status() -> None:
    ok = {"operation": "sample", "model": "tiny-vae", "status": "200"}
    by_model = {"operation": "sample", "model": "tiny-vae"}
    names = ["latentry_request_seconds_count", "latentry_inference_seconds_count", "latentry_images_total"]
    before = [now("latentry_requests_total", **ok)] + [now(name, **by_model) for name in names]
    in_flight = now("latentry_in_flight")
    with telemetry.Record("sample", "id") as call:
        call.model, call.images = "tiny-vae", 64
        assert now("latentry_in_flight") == in_flight + 1
        call.status, call.inference_s = 200, 0.25
    after = [now("latentry_requests_total", **ok)] + [now(name, **by_model) for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1, 64]
    assert now("latentry_in_flight") == in_flight


def test_work_is_counted_and_what_of_it_nobody_waited_for() -> None:
    labels = {"operation": "sample", "model": "tiny-vae"}
    names = ["latentry_computed_images_total", "latentry_wasted_images_total"]
    before = [now(name, **labels) for name in names]
    for computed, wasted in ((64, 0), (40, 24)):
        with telemetry.Record("sample", "id") as call:
            call.model, call.computed_images, call.wasted_images = "tiny-vae", computed, wasted
    after = [now(name, **labels) for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [104, 24]


def test_a_call_that_raises_is_a_500_and_not_in_flight() -> None:
    labels = {"operation": "score", "model": "", "status": "500"}
    before, in_flight = now("latentry_requests_total", **labels), now("latentry_in_flight")
    with pytest.raises(ZeroDivisionError), telemetry.Record("score", "id"):
        _ = 1 / 0
    assert now("latentry_requests_total", **labels) == before + 1
    assert now("latentry_in_flight") == in_flight


def test_callers_cannot_make_new_labels() -> None:
    labels = {"operation": "sample", "model": "unknown", "status": "404"}
    before = now("latentry_requests_total", **labels)
    for i in range(20):
        with telemetry.Record("sample", "id") as call:
            call.model, call.status = f"guess-{i}", 404
    assert now("latentry_requests_total", **labels) == before + 20
    assert b"guess" not in telemetry.render()[0]


def test_the_models_served_are_told(registry: Registry) -> None:
    model = registry.get("tiny-gan", 1)
    assert now("latentry_model_info", model="tiny-gan", version="1", digest=model.digest) == 1
    assert now("latentry_model_info", model="tiny-gan", version="3", digest=model.digest) == 0
    assert now("latentry_ready") == 1


def test_the_models_that_left_are_told(registry: Registry) -> None:
    model = registry.get("tiny-gan", 1)
    labels = {"model": "tiny-gan", "version": "1", "digest": model.digest}
    telemetry.serving([other for other in registry.models() if other is not model], refused=2, ready=False)
    assert (now("latentry_model_info", **labels), now("latentry_models_refused")) == (0, 2)
    assert now("latentry_ready") == 0
    telemetry.serving(registry.models())
    assert (now("latentry_model_info", **labels), now("latentry_models_refused")) == (1, 0)
    before = [now("latentry_model_changes_total", change=change) for change in ("loaded", "dropped")]
    telemetry.changed(2, 1)
    after = [now("latentry_model_changes_total", change=change) for change in ("loaded", "dropped")]
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 1]


WORKER = """
import os
from service import telemetry
call = telemetry.Record("sample", "id")
call.__enter__()
call.status = 200
if os.environ["END"] == "well":
    telemetry.metrics._ready.set(1)
    call.__exit__(None, None, None)
print(telemetry.render()[0].decode())
os._exit(0)
"""


def test_metrics_are_summed_over_workers_and_the_dead_are_not_in_flight(tmp_path: Path) -> None:
    folder = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    labels = {"operation": "sample", "model": "", "status": "200"}
    for _ in range(2):
        run(WORKER, END="well", **folder)
    # A worker killed amid a request leaves it in flight for ever, unless someone looks.
    text = run(WORKER, END="killed", **folder).stdout
    assert sample(text, "latentry_requests_total", **labels) == 2
    assert sample(text, "latentry_in_flight") == 1
    assert sample(text, "latentry_ready") == 0  # that worker did not get ready
    text = run(WORKER, END="well", **folder).stdout
    assert sample(text, "latentry_requests_total", **labels) == 3
    assert sample(text, "latentry_request_seconds_count", operation="sample", model="") == 3
    assert sample(text, "latentry_in_flight") == 0
    assert sample(text, "latentry_ready") == 1


def test_the_service_is_ready_when_every_worker_is(tmp_path: Path) -> None:
    folder = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    loading = subprocess.Popen(
        [sys.executable, "-c", "from service import telemetry; print(flush=True); input()"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **folder},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert loading.stdout is not None
    assert loading.stdout.readline() == "\n"
    try:
        assert sample(run(WORKER, END="well", **folder).stdout, "latentry_ready") == 0
    finally:
        loading.communicate("\n", timeout=30)
    assert sample(run(WORKER, END="well", **folder).stdout, "latentry_ready") == 1


LOGGER = """
import logging, threading, contextvars
from service import telemetry
telemetry.configure_logging("INFO")
log = logging.getLogger("service.anything")
log.debug("too quiet")
log.warning("before")
with telemetry.Record("sample", "req-1") as call:
    call.model, call.status = "tiny-vae", 503
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(log.info, "in a %s", "thread"))
    thread.start()
    thread.join()
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("bad\\nluck")
"""


def test_log_lines_are_json_and_carry_their_request() -> None:
    before, thread, error, end = (json.loads(line) for line in run(LOGGER).stderr.splitlines())
    assert (before["level"], before["message"]) == ("warning", "before")
    assert before["time"].endswith("+00:00")
    assert "request_id" not in before
    assert thread["message"] == "in a thread"
    assert (thread["request_id"], thread["model"], thread["operation"]) == ("req-1", "tiny-vae", "sample")
    assert error["message"] == "bad\nluck"
    assert "ZeroDivisionError" in error["exception"]
    assert (end["level"], end["status"], end["request_id"]) == ("error", 503, "req-1")
    assert 0 < end["ms"] < 60_000


async def test_requests_are_counted_in_time_or_when_they_are_many() -> None:
    labels = {"operation": "sample", "model": "tiny-vae", "status": "200"}

    def counted() -> float:
        return sample(metrics.render()[0].decode(), "latentry_requests_total", **labels)

    def ended(n: int) -> None:
        for _ in range(n):
            with telemetry.Record("sample", "id") as call:
                call.model, call.status = "tiny-vae", 200

    before = counted()
    ended(AT_ONCE)
    assert counted() == before
    await asyncio.sleep(0)
    assert counted() == before + AT_ONCE
    ended(1)
    await asyncio.sleep(2 * FLUSH_S)
    assert counted() == before + AT_ONCE + 1


UNREAD = """
import asyncio, time
from service import telemetry
telemetry.configure_logging("INFO")

async def serve():
    begin_s = time.perf_counter()
    for i in range(3000):
        with telemetry.Record("sample", f"req-{i}") as call:
            call.status = 200
        await asyncio.sleep(0)
    return time.perf_counter() - begin_s

print(asyncio.run(serve()), flush=True)
"""


def test_who_does_not_read_the_log_holds_up_nothing() -> None:
    command = [sys.executable, "-c", UNREAD]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert float(process.stdout.readline()) < 30
        lines = process.stderr.read().splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == [f"req-{i}" for i in range(3000)]


@pytest.mark.parametrize("header", ["abc-123", "A.b_c", "x" * 64])
def test_a_callers_request_id_is_kept(header: str) -> None:
    assert telemetry.request_id(header) == header


@pytest.mark.parametrize("header", [None, "", "a b", 'a"b', "a\nb", "x" * 65, "é"])
def test_an_id_unfit_for_a_log_is_replaced(header: str | None) -> None:
    one, two = telemetry.request_id(header), telemetry.request_id(header)
    assert one != two
    assert one.isalnum()


def test_workers_forked_from_one_process_give_different_request_ids() -> None:
    script = """
import os
from service import telemetry
if os.fork() == 0:
    print(telemetry.request_id(None), flush=True)
    os._exit(0)
os.wait()
print(telemetry.request_id(None))
"""
    ids = run(script, OPENBLAS_NUM_THREADS="1").stdout.split()
    assert len(set(ids)) == 2
    assert len({request_id[:8] for request_id in ids}) == 2

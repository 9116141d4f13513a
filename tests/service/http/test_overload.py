"""More than the service can do: who is refused, who is answered, and what is not computed. With a published model."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from load_tests.chaos.below import LOOP_S, PARTS, below
from load_tests.generator import Load, run
from load_tests.overload import IMAGES, REQUEST, overload
from service.admission import KEPT_S
from service.telemetry.record import FLUSH_S
from tests.service.http.test_bad_requests import assert_problem
from tests.service.server import ROOT, running, serve

QUEUED_IMAGES = 512
NPY = {"Accept": "application/x-npy"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    scratch = tmp_path_factory.mktemp("overload")
    with serve(ROOT / "models", scratch, workers=1, max_queued_images=QUEUED_IMAGES) as url:
        yield url


def port(url: str) -> int:
    return int(url.rpartition(":")[2])


def metric(url: str, line: str) -> float:
    time.sleep(6 * FLUSH_S)
    found = [text for text in httpx.get(f"{url}/metrics").text.splitlines() if text.startswith(line)]
    return sum(float(text.rpartition(" ")[2]) for text in found)


def test_beyond_saturation_some_are_told_when_to_come_and_the_rest_are_served_as_before(url: str) -> None:
    capacity_rps = run(Load(port(url), REQUEST, connections=4, seconds=1.5)).rps
    beyond = overload(port(url), 5 * capacity_rps, 10.0, return_rate=0.5)
    # The bounds are wide, as others may want the cores; `make overload` says how much it is.
    assert beyond.goodput_rps > 0.3 * capacity_rps
    assert beyond.refused > beyond.accepted
    assert beyond.refused_without_time == 0
    assert beyond.other == {}
    assert beyond.returned > 10
    assert beyond.returned_ok > 0.8
    # What may wait, what is kept beside it for who comes when told, and the run that goes on.
    bound_ms = 1000 * (KEPT_S + (QUEUED_IMAGES + 2 * IMAGES) / (IMAGES * beyond.goodput_rps))
    assert beyond.p99_ms is not None
    assert beyond.p99_ms < 3 * bound_ms
    assert beyond.health_asked > 20
    assert beyond.health_failed == 0
    assert beyond.health_p99_ms is not None
    assert beyond.health_p99_ms < 1000
    assert metric(url, "latentry_queue_images") == 0


def test_below_saturation_what_arrives_is_answered(tmp_path: Path) -> None:
    with running(ROOT / "models", tmp_path, workers=1) as service:
        found = below(port(service.url), service.process.pid, loops=2, arrivals_s=1.0)
    [first, second] = found.loops_rps
    mean_rps = (first + second) / 2
    assert found.answers == pytest.approx(mean_rps * 2 * LOOP_S, rel=0.1)
    assert 0 < found.cpu_s < 2 * LOOP_S * 8  # of fewer cores than these
    assert [told.offered_rps for told in found.arrivals] == pytest.approx([part * mean_rps for part in PARTS])
    for told in found.arrivals:
        assert told.other == {}
        assert told.accepted + told.refused == told.sent + told.returned > 0
        assert 0.3 * mean_rps < told.goodput_rps < 1.1 * told.offered_rps


def test_who_has_left_is_not_computed_for(tmp_path: Path) -> None:
    with serve(ROOT / "models", tmp_path, workers=1, max_queued_images=10_000) as url:
        started_s = time.perf_counter()
        assert httpx.post(f"{url}/sample?model=mnist-gan&n=1024&seed=1", headers=NPY, timeout=30).is_success
        one_s = time.perf_counter() - started_s
        leaving = [socket.create_connection(("127.0.0.1", port(url))) for _ in range(8)]
        started_s = time.perf_counter()
        for connection in leaving:
            connection.sendall(
                b"POST /sample?model=mnist-gan&n=1024&seed=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
            )
        time.sleep(one_s / 2)
        for connection in leaving:
            connection.close()
        assert httpx.post(f"{url}/sample?model=mnist-gan&n=64&seed=1", timeout=30).status_code == 200
        assert time.perf_counter() - started_s < 0.1 + 3 * one_s  # of eight
        gone = 'latentry_requests_total{model="mnist-gan",operation="sample",status="499"}'
        assert metric(url, gone) == len(leaving)
        computed, wasted = (metric(url, f"latentry_{what}_images_total") for what in ("computed", "wasted"))
        assert 0 < wasted < len(leaving) * 1024 / 2
        assert computed == 1024 + 64 + wasted


def test_nor_is_who_leaves_at_once(tmp_path: Path) -> None:
    """Sooner than anybody waits for news of it."""
    with serve(ROOT / "models", tmp_path, workers=1, max_queued_images=10_000) as url:
        ask = b"POST /sample?model=mnist-gan&n=%d&seed=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port(url))) as staying:
            staying.sendall(ask % 1024)
            time.sleep(0.02)
            for _ in range(40):
                with socket.create_connection(("127.0.0.1", port(url))) as leaving:
                    leaving.sendall(ask % 64)
            assert staying.recv(12) == b"HTTP/1.1 200"
        assert metric(url, "latentry_computed_images_total") < 1024 + 40 * 64 / 4


def test_a_long_answer_that_has_begun_is_given_whole(tmp_path: Path) -> None:
    """Whether there is room for it is known only when it is computed: before anything is sent."""
    with serve(ROOT / "models", tmp_path, workers=1, max_queued_images=64) as url:

        def ask(seed: int) -> int:
            path = f"{url}/sample?model=mnist-gan&n=1024&seed={seed}"
            return httpx.post(path, headers=NPY, timeout=30).status_code  # it raises where bytes are missing

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(24))) == {200, 429}


def test_a_deadline_is_the_clients_to_choose(url: str) -> None:
    started_s = time.perf_counter()
    answer = httpx.post(f"{url}/sample?model=mnist-gan&n=1024", headers={"X-Request-Timeout-Ms": "20"})
    assert time.perf_counter() - started_s < 1
    assert_problem(answer, 504)
    assert answer.json()["detail"] == "not answered within 0.02 seconds"
    assert httpx.post(f"{url}/sample?model=mnist-gan", headers={"X-Request-Timeout-Ms": "9999999"}).is_success


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "soon", "", "1e3", "9" * 10])
def test_a_deadline_is_a_whole_number(url: str, text: str) -> None:
    answer = httpx.post(f"{url}/sample?model=mnist-gan", headers={"X-Request-Timeout-Ms": text})
    assert_problem(answer, 400)
    assert answer.json()["errors"][0]["location"] == "header.X-Request-Timeout-Ms"


def test_a_service_that_takes_nothing_is_alive_and_says_when_to_come(tmp_path: Path) -> None:
    with serve(ROOT / "models", tmp_path, workers=1, max_queued_images=0) as url:
        answer = httpx.post(f"{url}/sample?model=mnist-gan")
        assert_problem(answer, 429)
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert httpx.post(f"{url}/v2/models/mnist-gan.generate/infer", json={}).status_code == 429
        for path in ("/livez", "/readyz", "/metrics", "/models"):
            assert httpx.get(f"{url}{path}").status_code == 200


def test_who_is_turned_away_can_go_on(models_dir: Path, tmp_path: Path) -> None:
    """Bodies, requests one behind the other, clients of HTTP/1.0: what comes next is answered as ever."""
    short = b"POST /sample?model=tiny-gan HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    with serve(models_dir, tmp_path, workers=1, max_queued_images=0) as url:
        with socket.create_connection(("127.0.0.1", port(url)), timeout=10) as one:
            one.sendall(short)
            first = one.recv(65536)
            one.sendall(20 * short + b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            rest = b""
            while piece := one.recv(65536):
                rest += piece
        assert first.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert rest.count(b"HTTP/1.1 429 ") == 20
        assert rest.count(b"HTTP/1.1 200 ") == 1
        assert rest.rindex(b"HTTP/1.1 429 ") < rest.index(b"HTTP/1.1 200 ")
        with socket.create_connection(("127.0.0.1", port(url)), timeout=10) as old:
            old.sendall(short.replace(b"1.1", b"1.0"))
            answer = b""
            while piece := old.recv(65536):
                answer += piece
        assert b"connection: close" in answer
        answers = [
            httpx.post(f"{url}{path}", headers={"X-Request-Id": "mine"}) for path in ("/sample", "/v2/x")
        ]
        assert [answer.status_code for answer in answers] == [429, 404]
        assert answers[0].headers.keys() - {"date", "retry-after"} == answers[1].headers.keys() - {"date"}
        assert {answer.headers["x-request-id"] for answer in answers} == {"mine"}
        counted = 'latentry_requests_total{model="",operation="sample",status="429"}'
        assert metric(url, counted) == 23

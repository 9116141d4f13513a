"""Models that change while they are served: no request fails, and each answer is what its version gives."""

import json
import os
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from load_tests.chaos.reloads import reloads
from service import codecs, operations
from service.folder import ModelsFolder
from service.http.gateway import PATHS
from service.steps import finish
from tests.service import bundles
from tests.service.http.test_bad_requests import assert_problem
from tests.service.server import running, serve

NPY = {"Accept": "application/x-npy"}
WAIT_S = 20
SETTLED = 25
"""Answers in a row, each over a connection of its own: of two idle workers, both gave some."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reload") / "models"
    bundles.write_gan(folder)
    return folder


@pytest.fixture(scope="module")
def url(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two workers that look by themselves, and when they are called."""
    scratch = tmp_path_factory.mktemp("watching")
    with serve(root, scratch, workers=2, reload_interval_s=0.2, admin=True) as url:
        yield url


@pytest.fixture(scope="module")
def weighted_url(root: Path, url: str) -> str:
    """`url`, with weights of 0.25 and 0.75 between the versions 20 and 21."""
    for number in (20, 21):
        bundles.write_gan(root, version=number, seed=60 + number)
    (root / "tiny-gan/traffic.json").write_text(json.dumps({"20": 0.25, "21": 0.75}))

    def shares() -> dict[int, float]:
        return {model["version"]: model["traffic"] for model in listed(url)["models"]}

    wait_for(lambda: {v: s for v, s in shares().items() if s} == {20: 0.25, 21: 0.75})
    in_every_worker(url)
    return url


@pytest.fixture(scope="module")
def called_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("called") / "models"
    bundles.write_gan(folder)
    return folder


@pytest.fixture(scope="module")
def called_url(called_root: Path) -> Iterator[str]:
    """Two workers that look when they are called."""
    with serve(called_root, called_root.parent, workers=2, reload_interval_s=0, admin=True) as url:
        yield url


# Each request has a connection of its own, so that any worker may take it.
HTTP = httpx.Client(timeout=30, headers={"Connection": "close"})


def post(url: str, path: str, **options: Any) -> httpx.Response:
    return HTTP.post(url + path, **options)


def version(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    return int(answer.headers["x-latentry-model"].partition("/")[2])


def ask(url: str, name: str = "tiny-gan", **options: Any) -> int:
    """The version that answers."""
    headers = NPY | options.pop("headers", {})
    return version(post(url, "/sample", json={"model": name, **options}, headers=headers))


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds SETTLED times in a row."""
    deadline, held = time.monotonic() + WAIT_S, 0
    while held < SETTLED:
        assert time.monotonic() < deadline
        held = held + 1 if condition() else 0


def in_every_worker(url: str) -> None:
    """Until each has seen what is there now: while one still looks, the other may give all answers."""
    assert post(url, "/admin/reload").json()["complete"] is True


def listed(url: str) -> dict[str, Any]:
    return dict(HTTP.get(f"{url}/models").json())


def metric(url: str, line: str) -> float:
    found = re.search(re.escape(line) + r" ([\d.]+)", HTTP.get(f"{url}/metrics").text)
    return float(found[1]) if found else 0.0


def expected(root: Path, seed: int, of: int, n: int) -> bytes:
    model = ModelsFolder(root).registry.get("tiny-gan", of)
    return codecs.encode_npy(finish(operations.sample(model, range(seed, seed + n))).images)


def test_a_bad_version_leaves_the_good_one_and_a_good_one_follows(root: Path, url: str) -> None:
    assert ask(url) == 1
    bad = bundles.write_gan(root, version=2, seed=40)
    (bad / "generate.onnx").write_bytes((bad / "generate.onnx").read_bytes()[:-1])
    wait_for(lambda: "tiny-gan/2" in listed(url)["refused"])
    in_every_worker(url)
    assert re.match(r"tiny-gan/2/generate.onnx: has [\d,]+ bytes", listed(url)["refused"]["tiny-gan/2"])
    assert ask(url) == 1
    assert_problem(post(url, "/sample", json={"model": "tiny-gan", "version": 2}), 404)
    assert metric(url, "latentry_models_refused") == 1
    bundles.write_gan(root, version=3, seed=41)
    wait_for(lambda: metric(url, 'latentry_model_changes_total{change="loaded"}') == 2)  # in two workers
    assert [ask(url, version=v) for v in (1, 3)] == [1, 3]
    assert post(url, "/sample?model=tiny-gan&seed=5&n=3", headers=NPY).content == expected(root, 5, 3, 3)
    shutil.rmtree(bad)
    wait_for(lambda: metric(url, "latentry_models_refused") == 0)
    assert listed(url)["refused"] == {}
    assert metric(url, 'latentry_model_changes_total{change="loaded"}') == 2


def test_a_call_reaches_every_worker(called_root: Path, called_url: str) -> None:
    before = {worker["pid"] for worker in post(called_url, "/admin/reload").json()["workers"]}
    assert len(before) == 2
    newest = bundles.write_gan(called_root, version=10, seed=50)
    bad = bundles.write_gan(called_root, version=11, seed=51)
    (bad / "golden.npz").unlink()
    time.sleep(1)
    assert ask(called_url) == 1  # nobody looks by himself
    answer = post(called_url, "/admin/reload").json()
    assert answer["complete"] is True
    assert {worker["pid"] for worker in answer["workers"]} == before
    for worker in answer["workers"]:
        assert (worker["done"], worker["loaded"], worker["dropped"]) == (True, ["tiny-gan/10"], [])
        assert worker["kept"] == ["tiny-gan/1"]
        assert worker["refused"] == {
            "tiny-gan/11": "tiny-gan/11/golden.npz: listed in the manifest, but missing"
        }
    assert {ask(called_url) for _ in range(SETTLED)} == {10}
    shutil.rmtree(bad)
    shutil.rmtree(newest)
    answer = post(called_url, "/admin/reload").json()
    assert [(w["dropped"], w["refused"]) for w in answer["workers"]] == [(["tiny-gan/10"], {})] * 2
    assert {ask(called_url) for _ in range(SETTLED)} == {1}
    assert_problem(HTTP.get(f"{called_url}/admin/reload"), 405)
    assert_problem(post(called_url, "/admin/other"), 404)


def test_a_worker_that_does_not_answer_is_told_and_not_waited_for(tmp_path: Path) -> None:
    root = tmp_path / "models"
    bundles.write_gan(root)
    with serve(root, tmp_path, workers=2, admin=True, request_timeout_s=2) as url:
        stopped, other = (worker["pid"] for worker in post(url, "/admin/reload").json()["workers"])
        os.kill(stopped, signal.SIGSTOP)
        try:
            bundles.write_gan(root, version=2, seed=35)
            answer = post(url, "/admin/reload").json()
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert answer["complete"] is False
        assert {worker["pid"]: worker["done"] for worker in answer["workers"]} == {
            stopped: False,
            other: True,
        }
        wait_for(lambda: ask(url) == 2)  # it does, when it can


def test_the_call_is_described_where_it_is_answered(called_url: str) -> None:
    document = HTTP.get(f"{called_url}/docs.json").json()
    answer = document["paths"]["/admin/reload"]["post"]["responses"]["200"]
    assert answer["content"]["application/json"]["schema"]["$ref"] == "#/components/schemas/ReloadAnswer"
    assert "/admin/reload" not in PATHS


def test_there_is_no_call_unless_it_is_allowed(http: httpx.Client) -> None:
    detail = str(assert_problem(http.post("/admin/reload"), 404)["detail"])
    assert detail.replace("/admin/reload", "/nope") == assert_problem(http.post("/nope"), 404)["detail"]
    assert "/admin/reload" not in http.get("/docs.json").json()["paths"]


def test_weights_divide_the_requests_that_name_no_version(weighted_url: str) -> None:
    url = weighted_url
    with ThreadPoolExecutor(4) as pool:
        by_seed = list(pool.map(lambda seed: ask(url, seed=seed), range(200)))
        again = list(pool.map(lambda seed: ask(url, seed=seed, n=3), range(200)))
        seeds = list(pool.map(lambda seed: ask(url, seeds=[seed, 1]), range(200)))
        drawn = Counter(pool.map(lambda _: ask(url), range(200)))
    assert by_seed == again == seeds  # whichever worker answered
    assert Counter(by_seed)[20] == pytest.approx(50, abs=4 * 6.2)
    assert drawn[20] == pytest.approx(50, abs=4 * 6.2)
    assert drawn.keys() == {20, 21}
    # A caller stays with a version, and an explicit version is an explicit version.
    for name in ("ann", "bob", "cy", "di"):
        assert len({ask(url, headers={"X-Latentry-Key": name}, seed=seed) for seed in range(5)}) == 1
    assert {ask(url, headers={"X-Latentry-Key": f"user-{i}"}, seed=1) for i in range(40)} == {20, 21}
    assert {ask(url, version=20, seed=seed) for seed in range(20)} == {20}


def test_what_has_no_seed_is_divided_by_what_it_is(weighted_url: str) -> None:
    url = weighted_url
    random = np.random.RandomState(0)
    given = [random.randint(0, 256, (1, 8, 8, 1)).astype(np.uint8) for _ in range(30)]

    def score(images: Any) -> int:
        files = [("images", ("x.png", codecs.encode_png(image), "image/png")) for image in images]
        return version_of(post(url, "/score?model=tiny-gan", files=files))

    def version_of(answer: httpx.Response) -> int:
        assert answer.json()["version"] == version(answer)
        return version(answer)

    found = [score(images) for images in given]
    assert found == [score(images) for images in given]  # with another boundary between the parts
    assert set(found) == {20, 21}
    client = triton.InferenceServerClient(url.removeprefix("http://"))

    def infer(images: Any, **options: Any) -> str:
        tensor = triton.InferInput("image", [1, 1, 8, 8], "FP32")
        tensor.set_data_from_numpy(images.reshape(1, 1, 8, 8).astype(np.float32) / 255)
        answer = client.infer("tiny-gan.discriminate", [tensor], **options)
        return str(answer.get_response()["model_version"])

    inferred = [infer(images) for images in given]
    assert inferred == [infer(images) for images in given]
    assert set(inferred) == {"20", "21"}
    assert {infer(images, model_version="1") for images in given[:5]} == {"1"}
    assert {infer(images, headers={"X-Latentry-Key": "ann"}) for images in given} < {"20", "21"}
    index = {(entry["name"], entry["version"]) for entry in client.get_model_repository_index()}
    assert {("tiny-gan.generate", v) for v in ("1", "20", "21")} <= index
    client.close()


def test_weights_of_a_version_that_is_not_there_are_an_error_at_the_start(tmp_path: Path) -> None:
    root, scratch = tmp_path / "models", tmp_path / "scratch"
    scratch.mkdir()
    bundles.write_gan(root)
    bundles.write_vae(root)
    (root / "tiny-gan/traffic.json").write_text('{"1": 0.9, "7": 0.1}')
    reason = "tiny-gan/traffic.json: there is no version 7; versions: 1"
    with serve(root, scratch, wait_for="/livez", workers=1, reload_interval_s=0.2) as url:
        assert listed(url)["refused"] == {"tiny-gan/traffic.json": reason}
        assert assert_problem(HTTP.get(f"{url}/readyz"), 503)["detail"] == reason
        assert reason in str(assert_problem(post(url, "/sample", json={"model": "tiny-gan"}), 503)["detail"])
        assert (ask(url, version=1), ask(url, "tiny-vae")) == (1, 1)
        (root / "tiny-gan/traffic.json").write_text('{"1": 0.9}')
        wait_for(lambda: HTTP.get(f"{url}/readyz").status_code == 200)
        assert ask(url) == 1
    assert (scratch / "service.log").read_text().count("there is no version 7; versions: 1") >= 1


def test_a_storm_of_versions_drops_no_request(tmp_path: Path) -> None:
    """As in `make chaos`, with smaller models and less time between two versions."""
    root, scratch = tmp_path / "models", tmp_path / "scratch"
    scratch.mkdir()
    bundles.write_gan(root)

    def publish(folder: Path, number: int) -> Path:
        return bundles.write_gan(folder, version=number, seed=1000 + 10 * number)

    with running(root, scratch, workers=2, reload_interval_s=0.1, admin=True) as service:
        found = reloads(
            service, "tiny-gan", root, tmp_path / "away", publish, versions=16, every_s=0.3, warm_up=4
        )
    assert found.failures == ()
    assert (found.answers > 50, found.other_bytes) == (True, 0)
    assert (found.used > 5, found.bad_used) == (True, 0)
    assert found.after_bytes - found.before_bytes < 24 * 2**20

"""With a file of keys only those who have one are answered, and only those who may call what the operator calls."""

import hashlib
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import validate

from service import codecs
from service.client import AsyncClient, Client, LatentryError
from service.http.access import OPEN
from service.registry import Registry
from tests.service import finished
from tests.service.http.conftest import settled_metrics
from tests.service.http.test_bad_requests import assert_problem
from tests.service.server import ROOT, Service, running

USE, OTHER, ADMIN = "the-key-of-a-caller", "the-next-key-of-that-caller", "the-key-of-the-operator"
SAMPLE = {"model": "tiny-gan", "seed": 7, "n": 3}
NPY = {"Accept": "application/x-npy"}
INFER = "/v2/models/tiny-vae.generate/infer"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def service(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    scratch = tmp_path_factory.mktemp("access")
    keys = {USE: "use", OTHER: "use other", ADMIN: "admin the operator"}
    lines = []
    for key, what in keys.items():
        scope, _, name = what.partition(" ")
        lines.append(f"{scope} {hashlib.sha256(key.encode()).hexdigest()} {name}\n")
    (scratch / "keys").write_text("# for tests\n" + "".join(lines))
    with running(models_dir, scratch, workers=1, admin=True, keys_file=scratch / "keys") as service:
        yield service


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": USE},
        {"Authorization": f"Basic {USE}"},
        bearer(USE[:-1]),
        bearer(USE.upper()),
        bearer(hashlib.sha256(USE.encode()).hexdigest()),
        bearer(f"{USE} {USE}"),
        {"X-Api-Key": "nobody's"},
        {"X-Api-Key": ""},
        {"X-Latentry-Key": USE},
        {**bearer("nobody's"), "X-Api-Key": USE},
    ],
    ids=str,
)
def test_without_a_key_nothing_is_answered(http: httpx.Client, headers: dict[str, str]) -> None:
    requests = [
        ("POST", "/sample"),
        ("GET", "/models"),
        ("GET", "/"),
        ("GET", "/metrics"),
        ("POST", "/admin/reload"),
    ]
    for method, path in requests:
        answer = http.request(method, path, headers=headers)
        detail = str(assert_problem(answer, 401)["detail"])
        assert "`Authorization: Bearer KEY` or `X-Api-Key: KEY`" in detail
        assert answer.headers["www-authenticate"] == "Bearer"
        assert USE not in answer.text
    under_v2 = http.post(INFER, headers=headers)
    assert (under_v2.status_code, under_v2.headers["content-type"]) == (401, "application/json")
    assert (list(under_v2.json()), under_v2.headers["www-authenticate"]) == (["error"], "Bearer")


@pytest.mark.parametrize(
    "headers",
    [
        bearer(USE),
        bearer(OTHER),
        bearer(ADMIN),
        {"Authorization": f"bearer {USE}"},
        {"X-Api-Key": USE},
        {"Authorization": "Basic of-a-proxy", "X-Api-Key": USE},
    ],
    ids=str,
)
def test_with_any_of_the_keys_the_answer_is_as_ever(
    http: httpx.Client, registry: Registry, headers: dict[str, str]
) -> None:
    expected = codecs.encode_npy(finished.sample(registry.get("tiny-gan"), [7, 8, 9]))
    assert http.post("/sample", json=SAMPLE, headers=headers | NPY).content == expected
    assert http.get("/models", headers=headers).status_code == 200


def test_what_watches_over_the_service_needs_no_key(http: httpx.Client) -> None:
    assert len(OPEN) == 4
    for path in OPEN:
        assert http.get(path).status_code == 200, path
        assert http.get(path, headers=bearer("nobody's")).status_code == 200, path
        assert http.get(f"{path}/").status_code in (401, 404)
    assert_problem(http.get("/livez%0A"), 404)
    assert http.get("/v2/health/live%0A").status_code == 401


# A pattern that ends in $ fits a path with a line feed at its end, too.
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/admin/reload"), ("POST", "/admin/reload%0A"), ("GET", "/metrics")]
)
def test_what_the_operator_calls_needs_a_key_of_that_scope(
    http: httpx.Client, method: str, path: str
) -> None:
    problem = assert_problem(http.request(method, path, headers=bearer(USE)), 403)
    assert "needs a key of the scope admin" in str(problem["detail"])
    assert http.request(method, path, headers=bearer(ADMIN)).status_code == 200


def test_a_call_of_the_operator_is_logged_by_the_name_of_the_key(
    http: httpx.Client, service: Service
) -> None:
    http.post("/admin/reload", headers=bearer(ADMIN))
    http.post("/admin/reload", headers=bearer(OTHER))
    log = service.log.read_text()
    assert "asked for /admin/reload by the admin key the operator" in log
    assert "asked for /admin/reload by the use key other" in log


def test_no_key_is_written_anywhere(http: httpx.Client, service: Service) -> None:
    http.post("/sample", json={"model": "nope"}, headers=bearer(USE))
    http.post("/sample", headers=bearer("a-key-of-nobody"))
    metrics = settled_metrics_of(http)
    assert 'latentry_requests_total{model="",operation="sample",status="401"}' in metrics
    for text in (metrics, service.log.read_text()):
        for key in (USE, OTHER, ADMIN, "a-key-of-nobody"):
            assert key not in text
            assert hashlib.sha256(key.encode()).hexdigest() not in text


def settled_metrics_of(http: httpx.Client) -> str:
    with httpx.Client(base_url=http.base_url, headers=bearer(ADMIN)) as operator:
        return settled_metrics(operator)


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_a_body_is_not_waited_for(service: Service, expect: bytes) -> None:
    url = httpx.URL(service.url)
    with socket.create_connection((url.host, url.port or 0), timeout=10) as connection:
        start = time.monotonic()
        connection.sendall(
            b"POST /sample HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n" + expect + b"\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 401 ")
        assert time.monotonic() - start < 5


async def test_the_client_sends_its_key(service: Service) -> None:
    with Client(service.url, api_key=USE) as client:
        images = client.sample("tiny-gan", 3, seed=7).images
    async with AsyncClient(service.url, api_key=OTHER) as client_:
        assert ((await client_.sample("tiny-gan", 3, seed=7)).images == images).all()
    with Client(service.url) as client:
        assert client.ready()
        with pytest.raises(LatentryError, match=r"401 Unauthorized: .* send a key"):
            client.models()


def test_the_document_says_so(http: httpx.Client) -> None:
    document = http.get("/docs.json", headers=bearer(USE)).json()
    validate(document)
    assert document["security"] == [{"Bearer": []}, {"ApiKey": []}]
    assert set(document["components"]["securitySchemes"]) == {"Bearer", "ApiKey"}
    for path, methods in document["paths"].items():
        for method in ("get", "post"):
            if method in methods:
                refusals = {"401", "403"} & set(methods[method]["responses"])
                is_open = methods[method].get("security") == []
                assert is_open == (path in OPEN)
                assert refusals == (
                    set() if is_open else {"401", "403"} if path in ("/metrics", "/admin/reload") else {"401"}
                )
    unauthorized = document["components"]["responses"]["Unauthorized"]["content"]["application/problem+json"]
    assert unauthorized["example"]["detail"] == http.post("/sample").json()["detail"]


def test_a_file_that_is_none_of_keys_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("#\nuse my-very-own-key\n")
    command = [sys.executable, "-m", "service", "--port", "0", "--keys-file", str(tmp_path / "keys")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert re.search(r"--keys-file \(LATENTRY_KEYS_FILE\): .*/keys: line 2: must be", line)
    assert "own" not in line

"""Latentry and its peers: how each is set up, started and asked for `n` images of the seeds from `seed` on."""

import json
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from load_tests.bench_numbers import LATENTRY
from load_tests.generator import Request
from load_tests.peers.sampler import NPY, PNG


@dataclass(frozen=True)
class Place:
    """Where a server is started: the interpreter of its environment, a free port, a folder of its own."""

    python: Path
    port: int
    scratch: Path
    workers: int

    def script(self, name: str) -> str:
        """A program that the environment has."""
        return str(self.python.parent / name)


def _by_query(n: int, media_type: str) -> Request:
    return Request(f"/sample?model=mnist-gan&n={n}&seed={{seed}}", media_type)


def _answer_itself(_: Mapping[str, str], body: bytes) -> bytes:
    return body


@dataclass(frozen=True)
class Server:
    """`environment`: a folder of .venv-peers, or None for the serving environment of Latentry itself.

    `request` makes the request for n images in a media type. `unwrap` takes headers (in lower case) and body of an
    answer, and gives what is to equal Latentry's body.
    """

    name: str
    label: str
    environment: str | None
    packages: tuple[str, ...]
    how: str
    docs: str
    command: Callable[[Place], list[str]]
    request: Callable[[int, str], Request] = _by_query
    variables: Callable[[Place], dict[str, str]] = lambda _: {}
    unwrap: Callable[[Mapping[str, str], bytes], bytes] = _answer_itself
    bears_a_stop: bool = True
    """That its processes are stopped for minutes (SIGSTOP), and go on."""


def _latentry(place: Place) -> list[str]:
    return [str(place.python), "-m", "service", "--host", "127.0.0.1", "--port", str(place.port)]


def _fastapi(file: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        run = [place.script("fastapi"), "run", f"load_tests/peers/{file}", "--host", "127.0.0.1"]
        return [*run, "--port", str(place.port), "--workers", str(place.workers)]

    return command


def _granian(place: Place) -> list[str]:
    run = [place.script("granian"), "--interface", "asgi", "--host", "127.0.0.1", "--port", str(place.port)]
    return [*run, "--workers", str(place.workers), "load_tests.peers.granian_asgi:app"]


def _module(name: str, *more: str) -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        module = f"load_tests.peers.{name}"
        return [str(place.python), "-m", module, str(place.port), str(place.workers), *more]

    return command


def _mlserver(place: Place) -> list[str]:
    """MLServer's HTTP, gRPC and metrics take three ports; what it runs is told in two files."""
    ports = {name: place.port + i for i, name in enumerate(("http_port", "grpc_port", "metrics_port"))}
    settings = {"host": "127.0.0.1", "parallel_workers": place.workers, **ports}
    model = {"name": "mnist-gan", "implementation": "load_tests.peers.mlserver_runtime.SampleRuntime"}
    (place.scratch / "settings.json").write_text(json.dumps(settings))
    (place.scratch / "model-settings.json").write_text(json.dumps(model))
    return [place.script("mlserver"), "start", str(place.scratch)]


def _bentoml(place: Place) -> list[str]:
    target = "load_tests.peers.bentoml_service:Sample"
    return [place.script("bentoml"), "serve", target, "--host", "127.0.0.1", "--port", str(place.port)]


def _bento_variables(place: Place) -> dict[str, str]:
    own = {"BENTOML_HOME": str(place.scratch), "BENTOML_DO_NOT_TRACK": "True"}
    return {**own, "WORKERS": str(place.workers)}


def _triton_variables(place: Place) -> dict[str, str]:
    """Triton's Python backend loads the first libpython that it finds, which must be that of the environment."""
    return {"LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR"), "PYTRITON_HOME": str(place.scratch)}


def _by_json(n: int, media_type: str) -> Request:
    body = f'{{"n": {n}, "seed": {{seed}}, "accept": "{media_type}"}}'
    return Request("/sample", media_type, body, "application/json")


def _by_bento_json(n: int, media_type: str) -> Request:
    path = "/sample_npy" if media_type == NPY else "/sample_png"
    return Request(path, media_type, f'{{"n": {n}, "seed": {{seed}}}}', "application/json")


def _by_tensor(n: int, media_type: str) -> Request:
    options = (
        f'{{"name":"options","shape":[3],"datatype":"INT64","data":[{n},{{seed}},{int(media_type == PNG)}]}}'
    )
    output = '{"name":"body","parameters":{"binary_data":true}}'
    body = f'{{"inputs":[{options}],"outputs":[{output}]}}'
    return Request("/v2/models/mnist-gan/infer", media_type, body, "application/json")


def _tensor(headers: Mapping[str, str], body: bytes) -> bytes:
    """The bytes behind the JSON of Triton's binary answer."""
    return body[int(headers["inference-header-content-length"]) :]


SERVERS = (
    Server(
        LATENTRY,
        "Latentry",
        None,
        ("bentoml", "onnxruntime", "numpy", "uvicorn"),
        "as `make serve` starts it: `python -m service`, all of `models/`",
        "../README.md",
        _latentry,
        variables=lambda place: {"LATENTRY_WORKERS": str(place.workers)},
    ),
    Server(
        "fastapi-sync",
        "FastAPI, `def`",
        "fastapi",
        ("fastapi", "uvicorn", "onnxruntime", "numpy"),
        "`fastapi run --workers 2`; a plain `def`, which runs in the thread pool",
        "https://fastapi.tiangolo.com/deployment/server-workers",
        _fastapi("fastapi_sync.py"),
    ),
    Server(
        "fastapi-async",
        "FastAPI, `async def`",
        "fastapi",
        ("fastapi", "uvicorn", "onnxruntime", "numpy"),
        "`fastapi run --workers 2`; an `async def`, which computes on the event loop",
        "https://fastapi.tiangolo.com/deployment/server-workers",
        _fastapi("fastapi_async.py"),
    ),
    Server(
        "granian",
        "Granian, raw ASGI",
        "granian",
        ("granian", "uvloop", "onnxruntime", "numpy"),
        "`granian --interface asgi --workers 2`; a function without a framework, nothing checked, no log, no metrics",
        "https://github.com/emmett-framework/granian",
        _granian,
    ),
    Server(
        "litserve",
        "LitServe",
        "litserve",
        ("litserve", "fastapi", "onnxruntime", "numpy"),
        '`LitServer(accelerator="cpu", workers_per_device=2)`, one request at a time in a worker',
        "https://lightning.ai/docs/litserve/api-reference/litserver",
        _module("litserve_api", "1"),
        request=_by_json,
    ),
    Server(
        "litserve-batch",
        "LitServe, batching",
        "litserve",
        ("litserve", "fastapi", "onnxruntime", "numpy"),
        "the same with `max_batch_size=8, batch_timeout=0.01`",
        "https://lightning.ai/docs/litserve/features/batching",
        _module("litserve_api", "8"),
        request=_by_json,
    ),
    Server(
        "ray",
        "Ray Serve",
        "ray",
        ("ray", "onnxruntime", "numpy"),
        "a deployment with `num_replicas=2` behind Serve's HTTP proxy, on a local Ray without the dashboard",
        "https://docs.ray.io/en/latest/serve/key-concepts.html",
        _module("ray_serve"),
        variables=lambda place: {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(place.scratch)},
        bears_a_stop=False,
    ),
    Server(
        "mlserver",
        "MLServer",
        "mlserver",
        ("mlserver", "fastapi", "onnxruntime", "numpy"),
        "a custom runtime with a custom handler, `parallel_workers: 2`",
        "https://docs.seldon.ai/mlserver/user-guide/custom",
        _mlserver,
    ),
    Server(
        "bentoml",
        "BentoML, plain",
        "bentoml",
        ("bentoml", "onnxruntime", "numpy"),
        "`@bentoml.service(workers=2)` with two `@bentoml.api` methods, JSON in, bytes out; its defaults",
        "https://docs.bentoml.com/en/latest/get-started/quickstart.html",
        _bentoml,
        request=_by_bento_json,
        variables=_bento_variables,
    ),
    Server(
        "pytriton",
        "Triton (PyTriton)",
        "pytriton",
        ("nvidia-pytriton", "onnxruntime", "numpy"),
        "the Triton that PyTriton packs, with its Python backend alone, and two inference callables; asked by Triton's "
        "HTTP protocol, binary tensors",
        "https://triton-inference-server.github.io/pytriton/latest/binding_models",
        _module("pytriton_server"),
        request=_by_tensor,
        variables=_triton_variables,
        unwrap=_tensor,
        bears_a_stop=False,
    ),
)

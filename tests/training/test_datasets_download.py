"""Downloads against a local HTTP server: what is right arrives whole, all else leaves nothing behind."""

import gzip
import hashlib
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from training.data.download import download_folder
from training.datasets import KNOWN, Known, load
from training.errors import DataError

CONTENT = b"what the file says" * 1000
PACKED = gzip.compress(CONTENT)
SHA256 = {"a.gz": hashlib.sha256(CONTENT).hexdigest()}


class Mirrors:
    """A server whose first path element picks what it does with a file; `asked` lists the paths in order."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.asked: list[str] = []
        self.release = threading.Event()
        mirrors = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirrors.asked.append(self.path)
                kind, name = self.path.strip("/").split("/")
                body = files[name]
                if kind == "missing":
                    self.send_error(404)
                    return
                if kind == "wrong":
                    body = gzip.compress(b"something else")
                if kind == "html":
                    body = b"<html>log in to this network first</html>"
                if kind == "repacked":
                    body = gzip.compress(gzip.decompress(body), compresslevel=1, mtime=12345)
                self.send_response(200)
                if kind != "unannounced":
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if kind == "hanging":
                    mirrors.release.wait(10)
                self.wfile.write(body[:-7] if kind in ("cut", "unannounced") else body)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def url(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{kind}"

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, bytes]], Mirrors]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    started: list[Mirrors] = []

    def start(files: dict[str, bytes]) -> Mirrors:
        started.append(Mirrors(files))
        return started[-1]

    yield start
    for mirrors in started:
        mirrors.close()


Serve = Callable[[dict[str, bytes]], Mirrors]


@pytest.mark.parametrize("kind", ["good", "repacked"])
def test_a_file_arrives_whole_whatever_its_packing(serve: Serve, tmp_path: Path, kind: str) -> None:
    mirrors = serve({"a.gz": PACKED})
    download_folder(tmp_path / "deep" / "set", [mirrors.url(kind), mirrors.url("missing")], SHA256)
    assert gzip.decompress((tmp_path / "deep" / "set" / "a.gz").read_bytes()) == CONTENT
    assert mirrors.asked == [f"/{kind}/a.gz"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set"]


@pytest.mark.parametrize("kind", ["missing", "cut", "unannounced", "wrong", "html", "hanging"])
def test_the_next_mirror_makes_up_for_a_bad_one(serve: Serve, tmp_path: Path, kind: str) -> None:
    mirrors = serve({"a.gz": PACKED})
    download_folder(tmp_path / "set", [mirrors.url(kind), mirrors.url("good")], SHA256, timeout_s=0.5)
    assert gzip.decompress((tmp_path / "set" / "a.gz").read_bytes()) == CONTENT
    assert mirrors.asked == [f"/{kind}/a.gz", "/good/a.gz"]


def test_a_failure_names_every_url_and_reason_and_leaves_nothing(serve: Serve, tmp_path: Path) -> None:
    mirrors = serve({"a.gz": PACKED, "b.gz": PACKED})
    bad = [mirrors.url(kind) for kind in ("missing", "cut", "wrong", "html")]
    with pytest.raises(DataError) as caught:
        download_folder(tmp_path / "set", bad, SHA256)
    text = str(caught.value)
    assert f"{mirrors.url('missing')}/a.gz: HTTPError: HTTP Error 404" in text
    assert f"{mirrors.url('cut')}/a.gz: EOFError: expected {len(PACKED)} bytes" in text
    assert (
        f"{mirrors.url('wrong')}/a.gz: expected unpacked content with sha256 {SHA256['a.gz']}, found" in text
    )
    assert f"{mirrors.url('html')}/a.gz: BadGzipFile" in text
    assert "--data" in text
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_only_when_its_last_file_is_there(serve: Serve, tmp_path: Path) -> None:
    mirrors = serve({"a.gz": PACKED, "b.gz": PACKED})
    with pytest.raises(DataError, match=r"b.gz: no mirror gave the right file"):
        download_folder(tmp_path / "set", [mirrors.url("good")], SHA256 | {"b.gz": "0" * 64})
    assert mirrors.asked == ["/good/a.gz", "/good/b.gz"]
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_an_error_with_its_url(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"http://127.0.0.1:1/a.gz: URLError"):
        download_folder(tmp_path / "set", ["http://127.0.0.1:1"], SHA256)


def test_load_downloads_once_into_the_cache(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LATENTRY_DATA", raising=False)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    content = {
        f"{prefix}-{kind}-ubyte.gz": header + bytes(n)
        for prefix in ("train", "t10k")
        for kind, header, n in (
            ("images-idx3", struct.pack(">4I", 2051, 2, 3, 4), 24),
            ("labels-idx1", struct.pack(">2I", 2049, 2), 2),
        )
    }
    mirrors = serve({name: gzip.compress(data) for name, data in content.items()})
    known = Known(
        licence="CC0",
        source="a local server",
        class_names=("zero", "one"),
        digests={"train": hashlib.sha256(bytes(24) + bytes(16)).hexdigest(), "test": ""},
        mirrors=(mirrors.url("good"),),
        files={name: hashlib.sha256(data).hexdigest() for name, data in content.items()},
    )
    monkeypatch.setitem(KNOWN, "tiny", known)

    train = load("tiny", "train")
    np.testing.assert_array_equal(train.images, np.zeros((2, 1, 3, 4)))
    assert train.licence == "CC0"
    load("tiny", "test", download=False)
    assert len(mirrors.asked) == 4
    assert sorted(path.name for path in Path(".data/tiny").iterdir()) == sorted(content)

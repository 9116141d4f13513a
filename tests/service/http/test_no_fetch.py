"""Nothing that a client writes is ever opened: neither a URL nor a path."""

import socket

import httpx
import pytest

from tests.service.http.test_bad_requests import assert_problem, assert_served


@pytest.fixture
def listener() -> socket.socket:
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.5)
    return server


def test_urls_are_not_fetched(http: httpx.Client, listener: socket.socket) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/image.png"
    part = ("images", (None, url))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answers = [
        http.post("/score", json={"model": "tiny-gan", "images": [url]}),
        http.post("/score", json={"model": "tiny-gan", "images": url}),
        http.post("/interpolate", json={"model": "tiny-vae", "images": [url, url]}),
        http.post("/interpolate", json={"model": "tiny-vae", "from": url, "to": url}),
        http.post("/score?model=tiny-gan", files=[part]),
        http.post("/score?model=tiny-gan", content=url, headers={"Content-Type": "image/png"}),
        http.post("/score?model=tiny-gan", content=url, headers={"Content-Type": "application/x-npy"}),
        http.post("/score", params={"model": "tiny-gan", "images": url}),
        http.post("/decode", json={"model": "tiny-vae", "latents": url}),
    ]
    for answer in answers:
        assert_problem(answer, 400)
    assert "never opened" in answers[0].text
    assert_problem(http.post("/score?model=tiny-gan", content=f"images={url}", headers=form), 415)
    assert_problem(http.post("/sample", json={"model": url[:64]}), 404)
    with pytest.raises(TimeoutError):
        listener.accept()
    assert_served(http)

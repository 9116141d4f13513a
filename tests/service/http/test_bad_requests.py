"""Bad input is a 4xx that names the place, the value and what is allowed; the next caller is served."""

import base64
import io
import json
import struct
import zlib
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.service.http.conftest import MAX_BODY_BYTES
from tests.service.http.pictures import encode, grey, npy

JSON, NPY, PNG = "application/json", "application/x-npy", "image/png"
FORM = "multipart/form-data; boundary=xyz"
PART = b'--xyz\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
GOOD_PNG = encode(grey(1)[0])


@dataclass(frozen=True)
class Bad:
    """A request, and the status, location and words that its answer must have."""

    name: str
    path: str
    body: object
    status: int
    location: str | None
    says: tuple[str, ...]
    content_type: str | None = JSON
    headers: dict[str, str] = field(default_factory=dict)


def sample(name: str, body: object, location: str, *says: str, status: int = 400) -> Bad:
    if isinstance(body, dict):
        body = {"model": "tiny-vae"} | body
    return Bad(name, "/sample", body, status, location, says)


def score(name: str, body: bytes, kind: str, location: str, *says: str, status: int = 400) -> Bad:
    return Bad(name, "/score?model=tiny-gan", body, status, location, says, content_type=kind)


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header promises what its data does not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def animated(form: str) -> bytes:
    frames = [Image.fromarray(image[..., 0]) for image in grey(3)]
    stream = io.BytesIO()
    frames[0].save(stream, form, save_all=True, append_images=frames[1:], lossless=True)
    return stream.getvalue()


def cmyk() -> bytes:
    stream = io.BytesIO()
    Image.new("CMYK", (8, 8)).save(stream, "JPEG")
    return stream.getvalue()


def npy_with(descr: str, shape: str, data: bytes) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


BAD_INTERPOLATIONS: list[tuple[str, dict[str, object], str, tuple[str, ...]]] = [
    ("no ends", {}, "body.from", ("required",)),
    ("one end", {"from": 1}, "body.to", ("required",)),
    ("one step", {"from": 1, "to": 2, "steps": 1}, "body.steps", ("greater than or equal to 2", "1")),
    ("many steps", {"from": 1, "to": 2, "steps": 257}, "body.steps", ("256", "257")),
    ("unknown path", {"from": 1, "to": 2, "path": "arc"}, "body.path", ("slerp", "lerp", '"arc"')),
    ("text as end", {"from": "1", "to": 2}, "body.from", ("integer", '"1"')),
    ("short end", {"from": [1.0], "to": 2}, "body.from", ("4 numbers", "got 1")),
    ("text in an end", {"from": [1, "x", 2, 3], "to": 2}, "body.from[1]", ("number", '"x"')),
    ("keys and an end", {"keys": [1, 2], "to": 3}, "body.keys", ("exclude `from` and `to`",)),
    ("one key", {"keys": [1]}, "body.keys", ("at least 2 items",)),
    ("no list of keys", {"keys": 3}, "body.keys", ("list", "3")),
    ("many keys", {"keys": [1] * 1025}, "body.keys", ("1,024", "1,025")),
    ("text as key", {"keys": [1, "2"]}, "body.keys[1]", ("integer", '"2"')),
    ("negative key", {"keys": [1, 2, -1]}, "body.keys[2]", ("greater than or equal to 0", "-1")),
    ("short key", {"keys": [1, [0.5]]}, "body.keys[1]", ("4 numbers", "got 1")),
    ("large key", {"keys": [1, [0, 1e39, 0, 0]]}, "body.keys[1][1]", ("finite", "1e+39")),
    ("closed is no text", {"from": 1, "to": 2, "closed": "true"}, "body.closed", ("boolean", '"true"')),
    ("closed is no number", {"from": 1, "to": 2, "closed": 1}, "body.closed", ("boolean", "1")),
    ("unknown easing", {"from": 1, "to": 2, "easing": "ease"}, "body.easing", ("smoothstep", '"ease"')),
    ("slow", {"from": 1, "to": 2, "fps": 0.5}, "body.fps", ("greater than or equal to 1", "0.5")),
    ("fast", {"from": 1, "to": 2, "fps": 51}, "body.fps", ("less than or equal to 50", "51")),
    ("ends by the wrong name", {"start": 1, "end": 2}, "body.start", ("from, to",)),
    (
        "one image",
        {"images": [base64.b64encode(GOOD_PNG).decode()]},
        "body.images",
        ("two or more", "got 1"),
    ),
]

CASES = [
    # JSON
    sample("no body", b"", "body.model", "is required"),
    sample("not JSON", b'{"model": tiny}', "body", "line 1, column 11"),
    sample("cut off", b'{"model": "tiny-vae"', "body", "is not JSON"),
    sample("not an object", b'["tiny-vae"]', "body", "must be a JSON object", '["tiny-vae"]'),
    sample("null", b"null", "body", "must be a JSON object", "null"),
    sample("not UTF-8", b'{"model": "\xff"}', "body", "not UTF-8", "byte 11", "0xff"),
    sample("UTF-16", '{"model": "tiny-vae"}'.encode("utf-16"), "body", "not UTF-8"),
    sample("surrogate", b'{"model": "\\ud800"}', "body.model", "\\ud800"),
    sample("duplicate key", b'{"model": "tiny-vae", "n": 1, "n": 2}', "body.n", "once"),
    sample("deep", b"[" * 200_000, "body", "nested too deeply"),
    sample("NaN", b'{"model": "tiny-vae", "truncation": NaN}', "body", "finite", "NaN"),
    sample("Infinity", b'{"model": "tiny-vae", "truncation": -Infinity}', "body", "finite", "-Infinity"),
    sample("1e999", b'{"model": "tiny-vae", "truncation": 1e999}', "body", "finite", "1e999"),
    sample("endless integer", b'{"n": ' + b"9" * 5000 + b"}", "body", "too many digits"),
    sample("large integer", {"n": 10**400}, "body.n", "less than 2147483648"),
    sample("unknown field", {"nn": 3}, "body.nn", "not a field", "n, seed"),
    sample("number as text", {"n": "12"}, "body.n", "integer", '"12"'),
    sample("number with a fraction", {"n": 1.5}, "body.n", "integer", "1.5"),
    sample("boolean as number", {"n": True}, "body.n", "integer", "true"),
    sample("n too small", {"n": 0}, "body.n", "greater than or equal to 1", "got 0"),
    sample("n too large", {"n": 1025}, "body.n", "1,024", "1,025"),
    sample("negative seed", {"seed": -1}, "body.seed", "-1"),
    sample("seed too large", {"seed": 2**53}, "body.seed", str(2**53)),
    sample("seed + n too large", {"seed": 2**53 - 1, "n": 2}, "body.seed", "2^53"),
    sample("seed and seeds", {"seed": 1, "seeds": [1]}, "body.seeds", "excludes"),
    sample("n is not the number of seeds", {"n": 3, "seeds": [1, 2]}, "body.n", "3", "2 seeds"),
    sample("no seeds", {"seeds": []}, "body.seeds", "at least 1 item"),
    sample("too many seeds", {"seeds": [1] * 1025}, "body.seeds", "1,024", "1,025"),
    sample("one bad seed", {"seeds": [1, "2"]}, "body.seeds[1]", "integer", '"2"'),
    sample("another prior", {"prior": "uniform"}, "body.prior", "'fitted' or 'normal'", "uniform"),
    sample("no fitted prior", {"prior": "fitted"}, "body.prior", "tiny-vae/1 has no fitted prior"),
    sample("keep 0", {"keep": 0}, "body.keep", "greater than 0"),
    sample("keep 2", {"keep": 2}, "body.keep", "less than or equal to 1", "2"),
    sample("keep as text", {"keep": "some"}, "body.keep", "number", '"some"'),
    sample(
        "keep and seeds", {"model": "tiny-gan", "keep": 0.5, "seeds": [1]}, "body.seeds", "excludes `keep`"
    ),
    sample("too many to keep", {"model": "tiny-gan", "keep": 1, "n": 1025}, "body.n", "1,024", "1,025"),
    sample(
        "too little is kept", {"model": "tiny-gan", "keep": 1e-9}, "body.keep", "kept 0 of the 8,192", "1 are"
    ),
    sample(
        "the last seed",
        {"model": "tiny-gan", "keep": 1e-9, "seed": 2**53 - 1},
        "body.keep",
        "kept 0 of the 1",
    ),
    sample(
        "kept labels",
        {"model": "tiny-cgan", "keep": 1, "discriminator": "tiny-gan", "label": [1]},
        "body.label",
        "one class",
    ),
    sample("nothing to choose by", {"discriminator": "tiny-gan"}, "body.discriminator", "`keep`"),
    sample(
        "odd discriminator", {"keep": 1, "discriminator": "tiny-gan/x"}, "body.discriminator", "NAME/VERSION"
    ),
    sample("empty discriminator", {"keep": 1, "discriminator": ""}, "body.discriminator", "at least 1"),
    sample(
        "discriminator of other images",
        {"model": "tiny-rgb", "keep": 1, "discriminator": "tiny-gan"},
        "body.discriminator",
        "tiny-gan/2 scores images of 8 x 8 x 1",
        "tiny-rgb/1 are 8 x 12 x 3",
    ),
    sample("truncation 0", {"truncation": 0}, "body.truncation", "greater than 0"),
    sample("truncation 1.1", {"truncation": 1.1}, "body.truncation", "less than or equal to 1", "1.1"),
    sample("version 0", {"version": 0}, "body.version", "got 0"),
    sample("label of a model without", {"label": 1}, "body.label", "not conditional"),
    sample("no label", {"model": "tiny-cgan"}, "body.label", "required", "2 (cross)"),
    sample("unknown label", {"model": "tiny-cgan", "label": 3}, "body.label", "2 (cross)", "got 3"),
    sample("label as name", {"model": "tiny-cgan", "label": "cross"}, "body.label", "integer", '"cross"'),
    sample(
        "too few labels", {"model": "tiny-cgan", "n": 3, "label": [0, 1]}, "body.label", "3 images", "got 2"
    ),
    sample("model is no text", {"model": 3}, "body.model", "string", "3"),
    sample("long name", {"model": "x" * 65}, "body.model", "at most 64"),
    sample("latents and n", {"latents": [[0] * 4], "n": 1}, "body.n", "left out"),
    sample("latents and a seed", {"latents": [[0] * 4], "seed": 1}, "body.seed", "left out"),
    sample("latents and seeds", {"latents": [[0] * 4], "seeds": [1]}, "body.seeds", "left out"),
    sample("latents and a prior", {"latents": [[0] * 4], "prior": "normal"}, "body.prior", "left out"),
    sample("latents and keep", {"latents": [[0] * 4], "keep": 0.5}, "body.keep", "left out"),
    sample("sample of no latents", {"latents": []}, "body.latents", "1 to 1,024", "got 0"),
    sample("sample of a short latent", {"latents": [[0, 1]]}, "body.latents[0]", "4 numbers", "got 2"),
    sample("sample of huge latents", {"latents": [[3e38] * 4]}, "body.latents", "too large"),
    Bad(
        "sample of NaN",
        "/sample?model=tiny-vae",
        npy(np.full((1, 4), np.nan, np.float32)),
        400,
        "body",
        ("finite", "nan"),
        content_type=NPY,
    ),
    Bad(
        "latents and n in the query",
        "/sample?model=tiny-vae&n=2",
        npy(np.zeros((2, 4), np.float32)),
        400,
        "query.n",
        ("left out",),
        content_type=NPY,
    ),
    Bad(
        "sample of latents without a prior",
        "/sample",
        {"model": "tiny-ae", "latents": [[0] * 4]},
        404,
        None,
        ("cannot sample", "decode"),
    ),
    Bad(
        "unknown view",
        "/reconstruct?model=tiny-vae&view=heat",
        GOOD_PNG,
        400,
        "query.view",
        ("'comparison'", '"heat"'),
        content_type=PNG,
    ),
    # Names of what is not there
    Bad("unknown model", "/sample", {"model": "nope"}, 404, None, ("nope", "tiny-vae", "tiny-gan")),
    Bad(
        "path as model", "/sample", {"model": "../../etc/passwd"}, 404, None, ("../../etc/passwd", "tiny-vae")
    ),
    Bad("unknown version", "/sample", {"model": "tiny-gan", "version": 9}, 404, None, ("9", "1, 2")),
    Bad("no prior", "/sample", {"model": "tiny-ae"}, 404, None, ("cannot sample", "encode")),
    Bad(
        "no discriminator",
        "/sample?keep=1",
        {"model": "tiny-vae"},
        404,
        None,
        ("no discriminator", "another"),
    ),
    Bad(
        "unknown discriminator",
        "/sample?keep=1&discriminator=nope",
        {"model": "tiny-vae"},
        404,
        None,
        ("nope", "tiny-gan"),
    ),
    Bad("no encoder", "/encode?model=tiny-gan", GOOD_PNG, 404, None, ("tiny-gan", "score"), content_type=PNG),
    Bad("no score", "/score?model=tiny-ae", GOOD_PNG, 404, None, ("score", "reconstruct"), content_type=PNG),
    # The query
    Bad("text in the query", "/sample?model=tiny-vae&n=many", {}, 400, "query.n", ("integer", '"many"')),
    Bad("n in the query", "/sample?model=tiny-vae&n=1025", {}, 400, "query.n", ("1,024", "1,025")),
    Bad("unknown in the query", "/sample?model=tiny-vae&x=1", {}, 400, "query.x", ("not a field",)),
    Bad("twice in the query", "/sample?model=a&model=b", {}, 400, "query.model", ("once",)),
    Bad("contradiction", "/sample?n=2", {"model": "tiny-vae", "n": 3}, 400, "query.n", ("2", "body.n", "3")),
    Bad("bad escape", "/sample?model=%ff", {}, 400, "query", ("utf-8",)),
    Bad("images in the query", "/score?model=tiny-gan&images=x", {}, 400, "query.images", ("body",)),
    # Headers
    Bad(
        "text",
        "/sample",
        b"hello",
        415,
        "header.Content-Type",
        (JSON, "text/plain"),
        content_type="text/plain",
    ),
    Bad("no type", "/sample", b"{}", 415, "header.Content-Type", (JSON, "missing"), content_type=None),
    Bad("an image to /sample", "/sample", GOOD_PNG, 415, "header.Content-Type", (JSON,), content_type=PNG),
    Bad(
        "pickle",
        "/sample",
        b"\x80\x04N.",
        415,
        "header.Content-Type",
        ("pickle",),
        content_type="application/vnd.bentoml+pickle",
    ),
    Bad(
        "unknown Accept",
        "/sample",
        {"model": "tiny-vae"},
        406,
        "header.Accept",
        ("text/html", PNG, "application/zip"),
        headers={"Accept": "text/html"},
    ),
    Bad(
        "no picture of a score",
        "/score?model=tiny-gan",
        GOOD_PNG,
        406,
        "header.Accept",
        (JSON, PNG),
        content_type=PNG,
        headers={"Accept": PNG},
    ),
    # Images
    score("no image", b"", PNG, "body", "0 bytes"),
    score("not an image", b"GIF89a" + bytes(20), PNG, "body", "PNG, JPEG or WebP", "GIF89a"),
    score("broken PNG", GOOD_PNG[:-40], PNG, "body", "broken"),
    score("PNG without data", png_header(8, 8), PNG, "body", "broken"),
    score("pixel bomb", png_header(50_000, 50_000), PNG, "body", "10,000", status=413),
    score("too many pixels", png_header(101, 100), PNG, "body", "10,000", "10,100", status=413),
    score("wrong size", png_header(28, 9), PNG, "body", "8 x 8", "28 x 9"),
    score("animated PNG", animated("PNG"), PNG, "body", "animated"),
    score("animated WebP", animated("WEBP"), "image/webp", "body", "animated"),
    score("CMYK", cmyk(), "image/jpeg", "body", "CMYK"),
    score("truncated WebP", b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp", "body", "broken"),
    Bad("no draws", "/score?model=tiny-vae&k=0", GOOD_PNG, 400, "query.k", ("1, got 0",), content_type=PNG),
    Bad(
        "part of a draw", "/score?model=tiny-vae&k=1.5", GOOD_PNG, 400, "query.k", ("1.5",), content_type=PNG
    ),
    Bad(
        "too many draws",
        "/score?model=tiny-vae&k=8193",
        npy(grey(2)),
        400,
        "query.k",
        ("16,384", "8,193 x 2"),
        content_type=NPY,
    ),
    Bad(
        "draws for a GAN",
        "/score?model=tiny-gan&k=2",
        GOOD_PNG,
        400,
        "query.k",
        ("discriminator",),
        content_type=PNG,
    ),
    # Multipart
    score("no boundary", b"--xyz--", "multipart/form-data", "header.Content-Type", "boundary"),
    score("garbage form", b"garbage", FORM, "body", "multipart"),
    score("form cut off", PART + GOOD_PNG, FORM, "body", "cut off"),
    score("empty form", b"--xyz--\r\n", FORM, "multipart.images", "required"),
    score("part without name", b"--xyz\r\n\r\nhello\r\n--xyz--\r\n", FORM, "multipart[0]", "no name"),
    score(
        "one bad part",
        PART + GOOD_PNG + b"\r\n" + PART + b"hello\r\n--xyz--\r\n",
        FORM,
        "multipart.images[1]",
        "5 bytes",
        "hello",
    ),
    score(
        "unknown part",
        b'--xyz\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n--xyz--\r\n',
        FORM,
        "multipart.image",
        "images",
    ),
    # NPY
    score("not NPY", b"hello", NPY, "body", "is not an NPY file"),
    score("cut off NPY", npy(grey(2))[:-1], NPY, "body", "needs 128 bytes", "got 127"),
    score("surplus NPY", npy(grey(2)) + b"x", NPY, "body", "got 129"),
    score("objects", npy_with("|O", "(1,)", b"cos\nsystem\n"), NPY, "body", "uint8", "|O"),
    score("wrong endianness", npy(np.zeros((1, 8, 8), ">f4")), NPY, "body", "<f4", ">f4"),
    score("float64", npy(np.zeros((1, 8, 8))), NPY, "body", "float32", "<f8"),
    score("wrong shape", npy(np.zeros((1, 8, 9), np.uint8)), NPY, "body", "[N, 8, 8, 1]", "[1, 8, 9]"),
    score("huge shape", npy_with("|u1", "(99999999999, 8, 8)", b""), NPY, "body", "got 0"),
    score("negative shape", npy_with("|u1", "(-1, -8, 8)", bytes(64)), NPY, "body", "negative"),
    score("code in the header", npy_with("|u1", "__import__('os')", b""), NPY, "body", "is not an NPY file"),
    score("no rows", npy(grey(0)), NPY, "body", "1 to 1,024", "got 0"),
    score("too many rows", npy(grey(1025)), NPY, "body", "1 to 1,024", "got 1,025"),
    score("NaN pixels", npy(np.full((1, 8, 8), np.nan, np.float32)), NPY, "body", "[0, 1]", "nan"),
    score("bright pixels", npy(np.full((1, 8, 8), 255, np.float32)), NPY, "body", "[0, 1]", "255"),
    # Base64
    Bad("no list", "/score", {"model": "tiny-gan", "images": "x"}, 400, "body.images", ("list",)),
    Bad("empty list", "/score", {"model": "tiny-gan", "images": []}, 400, "body.images", ("one or more",)),
    Bad("a number", "/score", {"model": "tiny-gan", "images": [3]}, 400, "body.images", ("[0]", "int")),
    Bad(
        "no base64", "/score", {"model": "tiny-gan", "images": ["$"]}, 400, "body.images[0]", ("base64", "$")
    ),
    Bad("a path", "/score", {"model": "tiny-gan", "images": ["/etc/passwd"]}, 400, "body.images[0]", ()),
    Bad(
        "a data URL",
        "/score",
        {"model": "tiny-gan", "images": ["data:image/png;base64," + base64.b64encode(GOOD_PNG).decode()]},
        400,
        "body.images[0]",
        ("base64", "data:image/png"),
    ),
    # Latents
    *(
        Bad(name, "/decode", {"model": "tiny-vae", "latents": value}, 400, location, says)
        for name, value, location, says in [
            ("no latents", [], "body.latents", ("1 to 1,024", "got 0")),
            ("flat latents", [1.0, 2.0], "body.latents", ("list",)),
            ("short latents", [[0, 0, 0, 0], [1, 2]], "body.latents[1]", ("4 numbers", "got 2")),
            ("text in latents", [[0, 0, 0, "1"]], "body.latents", ("[0][3]", "str")),
            ("float32 overflow", [[0, 0, 1e39, 0]], "body.latents[0][2]", ("finite", "1e+39")),
            ("huge integer in latents", [[0, 0, 10**400, 0]], "body.latents[0]", ("float32",)),
            ("too large for the graph", [[3e38] * 4], "body.latents", ("too large",)),
        ]
    ),
    Bad(
        "NaN in latents", "/decode", b'{"model":"tiny-vae","latents":[[NaN]]}', 400, "body", ("finite", "NaN")
    ),
    Bad(
        "NaN in npy latents",
        "/decode?model=tiny-vae",
        npy(np.full((1, 4), np.nan, np.float32)),
        400,
        "body",
        ("finite", "nan"),
        content_type=NPY,
    ),
    # Interpolation
    *(
        Bad(name, "/interpolate", {"model": "tiny-vae", **body}, 400, location, says)
        for name, body, location, says in BAD_INTERPOLATIONS
    ),
    Bad(
        "latents in the query",
        "/interpolate?model=tiny-vae&keys=0.5,1,2,3",
        {},
        400,
        "query.keys[0]",
        ("integer", "0.5"),
    ),
    Bad("one key in the query", "/interpolate?model=tiny-vae&keys=1", {}, 400, "query.keys", ("2 items",)),
    Bad(
        "closed as a number in the query",
        "/interpolate?model=tiny-vae&keys=1,2&closed=1",
        {},
        400,
        "query.closed",
        ("boolean", '"1"'),
    ),
    # Sizes
    Bad("large body", "/sample", b" " * (MAX_BODY_BYTES + 1), 413, "body", ("400,000",)),
]


def send(http: httpx.Client, bad: Bad) -> httpx.Response:
    body = bad.body if isinstance(bad.body, bytes) else json.dumps(bad.body).encode()
    headers = dict(bad.headers)
    if bad.content_type:
        headers["Content-Type"] = bad.content_type
    return http.post(bad.path, content=body, headers=headers)


def assert_served(http: httpx.Client) -> None:
    answer = http.post("/sample", json={"model": "tiny-vae", "seed": 1})
    assert answer.status_code == 200
    assert answer.content.startswith(b"\x89PNG")


def assert_problem(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    problem: dict[str, object] = answer.json()
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert problem["instance"] == answer.request.url.path
    assert problem["title"] == answer.reason_phrase
    return problem


@pytest.mark.parametrize("bad", CASES, ids=lambda bad: bad.name)
def test_bad_request(http: httpx.Client, bad: Bad) -> None:
    problem = assert_problem(send(http, bad), bad.status)
    for words in bad.says:
        assert words in str(problem["detail"])
    errors = problem.get("errors", [])
    assert isinstance(errors, list)
    assert (bad.location in [e["location"] for e in errors]) if bad.location else not errors, errors
    assert_served(http)


def test_names_of_cases_are_distinct() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 60


def test_each_bad_field_is_named(http: httpx.Client) -> None:
    answer = http.post("/sample?truncation=2", json={"n": 0, "seeds": [1, -1], "x": 1})
    problem = assert_problem(answer, 400)
    locations = [error["location"] for error in problem["errors"]]  # type: ignore[attr-defined]
    assert sorted(locations) == ["body.model", "body.n", "body.seeds[1]", "body.x", "query.truncation"]


def test_chunked_body_is_counted_while_it_is_read(http: httpx.Client) -> None:
    answer = http.post(
        "/sample", content=(b" " * 50_000 for _ in range(9)), headers={"Content-Type": "application/json"}
    )
    assert "content-length" not in answer.request.headers
    assert_problem(answer, 413)
    assert_served(http)


def test_chunked_body_within_the_limit_is_served(http: httpx.Client) -> None:
    chunks = iter([b'{"model": "tiny-vae", ', b'"seed": 1}'])
    answer = http.post("/sample", content=chunks, headers={"Content-Type": "application/json"})
    assert answer.content == http.post("/sample", json={"model": "tiny-vae", "seed": 1}).content


@pytest.mark.parametrize(
    "path", ["/nope", "/sample/x", "/sample/", "/models/a/b", "/models/tiny-vae/", "/static_content/nope"]
)
def test_unknown_path(http: httpx.Client, path: str) -> None:
    problem = assert_problem(http.get(path), 404)
    assert path in str(problem["detail"])
    assert "/interpolate" in str(problem["detail"])


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/sample", "POST"),
        ("DELETE", "/score", "POST"),
        ("POST", "/models", "GET, HEAD"),
        ("PUT", "/models/tiny-vae", "GET, HEAD"),
        ("POST", "/readyz", "GET, HEAD"),
    ],
)
def test_wrong_method(http: httpx.Client, method: str, path: str, allowed: str) -> None:
    answer = http.request(method, path)
    problem = assert_problem(answer, 405)
    assert sorted(answer.headers["allow"].split(", ")) == sorted(allowed.split(", "))
    assert method in str(problem["detail"])
    assert "POST" in str(problem["detail"]) or "GET" in str(problem["detail"])


def test_unknown_model_page(http: httpx.Client) -> None:
    assert "tiny-vae" in str(assert_problem(http.get("/models/nope"), 404)["detail"])

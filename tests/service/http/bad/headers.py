"""The query, the headers, and how long a request may be."""

import gzip

from tests.service.http.bad.case import GOOD_PNG, JSON, PNG, Bad
from tests.service.http.conftest import MAX_BODY_BYTES

GROUPS = {
    "Query": [
        Bad("text in the query", "/sample?model=tiny-vae&n=many", {}, 400, "query.n", ("integer", '"many"')),
        Bad("n in the query", "/sample?model=tiny-vae&n=1025", {}, 400, "query.n", ("1,024", "1,025")),
        Bad("unknown in the query", "/sample?model=tiny-vae&x=1", {}, 400, "query.x", ("not a field",)),
        Bad("twice in the query", "/sample?model=a&model=b", {}, 400, "query.model", ("once",)),
        Bad(
            "contradiction",
            "/sample?n=2",
            {"model": "tiny-vae", "n": 3},
            400,
            "query.n",
            ("2", "body.n", "3"),
        ),
        Bad("bad escape", "/sample?model=%ff", {}, 400, "query", ("utf-8",)),
        Bad("images in the query", "/score?model=tiny-gan&images=x", {}, 400, "query.images", ("body",)),
        Bad("nothing in the query", "/sample?model=tiny-vae&n=", {}, 400, "query.n", ("integer", '""')),
        Bad(
            "NaN in the query", "/sample?model=tiny-vae&truncation=NaN", {}, 400, "query.truncation", ("NaN",)
        ),
        Bad("many options", "/sample?" + "&".join(f"a{i}=1" for i in range(101)), {}, 400, "query", ("Max",)),
        Bad("endless query", "/sample?model=" + "x" * 40_000, {}, 431, None, ("32,768 bytes", "query")),
        Bad("endless path", "/" + "x" * 40_000, {}, 431, None, ("32,768 bytes", "path")),
    ],
    "Headers": [
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
        Bad(
            "an image to /sample", "/sample", GOOD_PNG, 415, "header.Content-Type", (JSON,), content_type=PNG
        ),
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
            headers=(("Accept", "text/html"),),
        ),
        Bad(
            "no picture of a score",
            "/score?model=tiny-gan",
            GOOD_PNG,
            406,
            "header.Accept",
            (JSON, PNG),
            content_type=PNG,
            headers=(("Accept", PNG),),
        ),
        Bad(
            "endless header", "/sample", {}, 431, None, ("32,768 bytes",), headers=(("X-Any", "x" * 40_000),)
        ),
        Bad("many headers", "/sample", {}, 431, None, ("headers",), headers=(("X-Any", "x" * 9),) * 3000),
        Bad(
            "long Accept",
            "/sample",
            {"model": "tiny-vae"},
            406,
            "header.Accept",
            ("got 'text/xxx",),
            headers=(("Accept", "text/" + "x" * 9000),),
        ),
        Bad(
            "two types",
            "/sample",
            {"model": "tiny-vae"},
            400,
            "header.Content-Type",
            ("once",),
            headers=(("Content-Type", PNG),),
        ),
        Bad(
            "two keys",
            "/sample",
            {"model": "tiny-vae"},
            400,
            "header.X-Latentry-Key",
            ("once",),
            headers=(("X-Latentry-Key", "a"), ("X-Latentry-Key", "b")),
        ),
        Bad(
            "compressed",
            "/sample",
            gzip.compress(b'{"model": "tiny-vae"}', mtime=0),
            415,
            "header.Content-Encoding",
            ("identity", "'gzip'"),
            headers=(("Content-Encoding", "gzip"),),
        ),
        Bad(
            "two codings",
            "/sample",
            {"model": "tiny-vae"},
            400,
            "header.Content-Encoding",
            ("once",),
            headers=(("Content-Encoding", "gzip"), ("Content-Encoding", "identity")),
        ),
        Bad("large body", "/sample", b" " * (MAX_BODY_BYTES + 1), 413, "body", ("400,000",)),
    ],
}

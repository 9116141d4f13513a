"""Images: files, forms, base64."""

import base64

from PIL import Image

from tests.service.http.bad.case import FORM, GOOD_PNG, NPY, PART, PNG, Bad, form, score
from tests.service.http.bad.files import BOMB, animated, cmyk, png, png_header, saved, turned, webp_header
from tests.service.http.pictures import grey, npy

ROWS = bytes(8 * 9)
GOOD_JPEG = saved(Image.new("L", (8, 8)), "JPEG")
DISPOSITION = b'Content-Disposition: form-data; name="images"'

GROUPS = {
    "Images": [
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
        Bad(
            "no draws", "/score?model=tiny-vae&k=0", GOOD_PNG, 400, "query.k", ("1, got 0",), content_type=PNG
        ),
        Bad(
            "part of a draw",
            "/score?model=tiny-vae&k=1.5",
            GOOD_PNG,
            400,
            "query.k",
            ("1.5",),
            content_type=PNG,
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
        score("HTML as PNG", b"<!doctype html><svg/>", PNG, "body", "PNG, JPEG or WebP", "<!doctype html>"),
        score("TIFF as PNG", saved(Image.new("L", (8, 8)), "TIFF"), PNG, "body", "PNG, JPEG or WebP", "II*"),
        score("first bytes of a PNG", GOOD_PNG[:8], PNG, "body", "header cannot be read"),
        score("first bytes of a JPEG", GOOD_JPEG[:3], "image/jpeg", "body", "header cannot be read"),
        score("JPEG cut off", GOOD_JPEG[:-20], "image/jpeg", "body", "JPEG image is broken"),
        score("PNG of no width", png(0, 8, ROWS), PNG, "body", "header cannot be read"),
        score("PNG of 3 bits", png(8, 8, ROWS, depth=3), PNG, "body", "header cannot be read"),
        score("PNG without a palette", png(8, 8, ROWS, colour=3), PNG, "body", "palette"),
        score(
            "PNG with a wrong checksum",
            GOOD_PNG[:29] + b"beef" + GOOD_PNG[33:],
            PNG,
            "body",
            "PNG image is broken",
        ),
        score("PNG with an endless chunk", GOOD_PNG[:33] + b"\x7f\xff\xff\xffIDAT", PNG, "body", "broken"),
        score("bomb of text", png(8, 8, ROWS, (b"zTXt", b"a\0\0" + BOMB)), PNG, "body", "too large"),
        score(
            "bomb of a colour profile", png(8, 8, ROWS, (b"iCCP", b"a\0\0" + BOMB)), PNG, "body", "too large"
        ),
        score(
            "transparent colour of 2 bits",
            png(8, 8, bytes(8 * 3), (b"tRNS", b"\0\3"), depth=2),
            PNG,
            "body",
            "1 or 8 bits",
            "got 2",
        ),
        score(
            "transparent colour of 16 bits",
            png(8, 8, bytes(8 * 17), (b"tRNS", b"\0\3"), depth=16),
            PNG,
            "body",
            "1 or 8 bits",
            "got 16",
        ),
        score("JPEG of several pictures", animated("MPO"), "image/jpeg", "body", "animated"),
        score("WebP of 3 gigapixels", webp_header(2**24, 200), "image/webp", "body", "10,000", status=413),
        Bad(
            "turned by its EXIF",
            "/reconstruct?model=tiny-rgb",
            turned(),
            400,
            "body",
            ("12 x 8", "got 8 x 12"),
            content_type=PNG,
        ),
    ],
    "Multipart": [
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
        score("too many parts", form(*[("images", b"")] * 1125), FORM, "body", "1,124 parts"),
        score(
            "too many images",
            form(*[("images", b"")] * 1025),
            FORM,
            "multipart.images",
            "1 to 1,024",
            "1,025",
        ),
        score("option twice in a form", form(("k", b"1"), ("k", b"2")), FORM, "multipart.k", "once"),
        score("option that is not UTF-8", form(("k", b"\xff")), FORM, "multipart.k", "not UTF-8", "0xff"),
        score(
            "option against the query", form(("model", b"a")), FORM, "query.model", "multipart.model", '"a"'
        ),
        score(
            "text for an image", form(("images", b"3.png")), FORM, "multipart.images[0]", "5 bytes", "3.png"
        ),
        score(
            "endless name of a part", form(("x" * 4000, b"")), FORM, "multipart." + "x" * 110, "not a field"
        ),
        score("endless header of a part", form(("x" * 9000, b"")), FORM, "body", "header size"),
        score(
            "many headers of a part",
            b"--xyz\r\n" + b"A: b\r\n" * 9 + b"\r\n\r\n--xyz--",
            FORM,
            "body",
            "header count",
        ),
        score("another boundary", form(("images", GOOD_PNG)), FORM + "zy", "body", "multipart/form-data"),
        score(
            "endless boundary",
            form(("images", GOOD_PNG)),
            "multipart/form-data; boundary=" + "x" * 300,
            "body",
            "Boundary length 300",
        ),
    ],
    "Base64": [
        Bad("no list", "/score", {"model": "tiny-gan", "images": "x"}, 400, "body.images", ("list",)),
        Bad(
            "empty list", "/score", {"model": "tiny-gan", "images": []}, 400, "body.images", ("one or more",)
        ),
        Bad("a number", "/score", {"model": "tiny-gan", "images": [3]}, 400, "body.images", ("[0]", "int")),
        Bad(
            "no base64",
            "/score",
            {"model": "tiny-gan", "images": ["$"]},
            400,
            "body.images[0]",
            ("base64", "$"),
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
        Bad("no bytes", "/score", {"model": "tiny-gan", "images": [""]}, 400, "body.images[0]", ("0 bytes",)),
        Bad(
            "line breaks",
            "/score",
            {"model": "tiny-gan", "images": [base64.encodebytes(GOOD_PNG).decode()]},
            400,
            "body.images[0]",
            ("base64",),
        ),
        Bad(
            "a letter missing",
            "/score",
            {"model": "tiny-gan", "images": [base64.b64encode(GOOD_PNG).decode()[:-1]]},
            400,
            "body.images[0]",
            ("base64", "..."),
        ),
    ],
}

"""Arrays: images and latents as npy, latents in JSON."""

import numpy as np

from tests.service.http.bad.case import NPY, Bad, decode, score
from tests.service.http.bad.files import float_npy, npy_with
from tests.service.http.pictures import grey, npy

GROUPS = {
    "NPY": [
        score("not NPY", b"hello", NPY, "body", "is not an NPY file"),
        score("cut off NPY", npy(grey(2))[:-1], NPY, "body", "needs 128 bytes", "got 127"),
        score("surplus NPY", npy(grey(2)) + b"x", NPY, "body", "got 129"),
        score("objects", npy_with("|O", "(1,)", b"cos\nsystem\n"), NPY, "body", "uint8", "|O"),
        score("wrong endianness", npy(np.zeros((1, 8, 8), ">f4")), NPY, "body", "<f4", ">f4"),
        score("float64", npy(np.zeros((1, 8, 8))), NPY, "body", "float32", "<f8"),
        score("wrong shape", npy(np.zeros((1, 8, 9), np.uint8)), NPY, "body", "[N, 8, 8, 1]", "[1, 8, 9]"),
        score(
            "huge shape",
            npy_with("|u1", "(99999999999, 8, 8)", b""),
            NPY,
            "body",
            "2,147,483,647",
            "[99999999999, 8, 8]",
        ),
        score(
            "negative shape",
            npy_with("|u1", "(-1, -8, 8)", bytes(64)),
            NPY,
            "body",
            "0 to 2,147",
            "[-1, -8, 8]",
        ),
        score(
            "code in the header", npy_with("|u1", "__import__('os')", b""), NPY, "body", "is not an NPY file"
        ),
        score("no rows", npy(grey(0)), NPY, "body", "1 to 1,024", "got 0"),
        score("too many rows", npy(grey(1025)), NPY, "body", "1 to 1,024", "got 1,025"),
        score("NaN pixels", npy(np.full((1, 8, 8), np.nan, np.float32)), NPY, "body", "[0, 1]", "nan"),
        score("bright pixels", npy(np.full((1, 8, 8), 255, np.float32)), NPY, "body", "[0, 1]", "255"),
        score("no bytes", b"", NPY, "body", "is not an NPY file"),
        score(
            "version 3", npy_with("|u1", "(1, 8, 8)", bytes(64), major=3), NPY, "body", "1.0 or 2.0", "3.0"
        ),
        score("header beyond the file", b"\x93NUMPY\x01\x00\xff\xff{", NPY, "body", "malformed"),
        score(
            "header of 20,000 bytes", npy_with("|u1", "(" + " " * 20_000 + ")", b""), NPY, "body", "malformed"
        ),
        score("header nested deep", npy_with("|u1", "(" * 4000 + ")" * 4000, b""), NPY, "body", "malformed"),
        score("header of signs", npy_with("|u1", "(" + "-" * 9000 + "1,)", b""), NPY, "body", "malformed"),
        score(
            "structure",
            npy_with("[('a', '<f4'), ('b', '|O')]", "(1,)", bytes(12)),
            NPY,
            "body",
            "a structure",
        ),
        score(
            "array of arrays",
            npy_with("('<f4', (8, 8))", "(1,)", bytes(256)),
            NPY,
            "body",
            "float32",
            "|V256",
        ),
        score("text", npy(np.array([["a"]])), NPY, "body", "float32", "<U1"),
        score("float16", npy(np.zeros((1, 8, 8), np.float16)), NPY, "body", "float32", "<f2"),
        score(
            "no rows of a giant",
            npy_with("|u1", f"(0, {2**31 - 1}, {2**31 - 1}, 9)", b""),
            NPY,
            "body",
            "too long",
        ),
        score(
            "endless axis", npy_with("|u1", f"(0, {10**30}, 8)", b""), NPY, "body", "2,147,483,647", "100000"
        ),
        score("endless axes", npy_with("|u1", "(" + "9" * 4000 + ",) * 1", b""), NPY, "body", "malformed"),
        score(
            "product of endless axes",
            npy_with("|u1", f"({'9' * 4000}, {'9' * 4000})", b""),
            NPY,
            "body",
            "8 axes",
        ),
        score("65 axes", npy_with("|u1", str((1,) * 65), b"x"), NPY, "body", "at most 8 axes"),
        score("true as an axis", npy_with("|u1", "(True, 8, 8)", bytes(64)), NPY, "body", "[True, 8, 8]"),
        score("infinite pixels", float_npy(np.inf, 1, 8, 8), NPY, "body", "[0, 1]", "inf"),
        score("dark pixels", float_npy(-0.5, 1, 8, 8), NPY, "body", "[0, 1]", "-0.5"),
    ],
    "Latents": [
        *(
            Bad(name, "/decode", {"model": "tiny-vae", "latents": value}, 400, location, says)
            for name, value, location, says in [
                ("no latents", [], "body.latents", ("1 to 1,024", "got 0")),
                ("flat latents", [1.0, 2.0], "body.latents", ("list",)),
                ("short latents", [[0, 0, 0, 0], [1, 2]], "body.latents[1]", ("4 numbers", "got 2")),
                ("text in latents", [[0, 0, 0, "1"]], "body.latents", ("[0][3]", "str")),
                ("float32 overflow", [[0, 0, 1e39, 0]], "body.latents[0][2]", ("finite", "1e+39")),
                ("huge integer in latents", [[0, 0, 10**400, 0]], "body.latents[0]", ("float32",)),
                ("beyond the range", [[0, 0, 0, -1e7]], "body.latents[0][3]", ("1,000,000", "-10000000.0")),
            ]
        ),
        Bad(
            "NaN in latents",
            "/decode",
            b'{"model":"tiny-vae","latents":[[NaN]]}',
            400,
            "body",
            ("finite", "NaN"),
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
        decode("no npy latents", npy(np.zeros((0, 4), np.float32)), "1 to 1,024", "got 0"),
        decode("too many npy latents", npy(np.zeros((1025, 4), np.float32)), "1 to 1,024", "got 1,025"),
        decode("npy latents of another length", npy(np.zeros((1, 5), np.float32)), "[N, 4]", "[1, 5]"),
        decode("flat npy latents", npy(np.zeros(4, np.float32)), "[N, 4]", "got [4]"),
        decode("float64 latents", npy(np.zeros((1, 4))), "float32 (<f4)", "<f8"),
        decode("uint8 latents", npy(np.zeros((1, 4), np.uint8)), "float32 (<f4)", "|u1"),
        decode("latents of wrong endianness", npy(np.zeros((1, 4), ">f4")), "float32 (<f4)", ">f4"),
        decode("infinite npy latents", float_npy(np.inf, 1, 4), "finite", "inf"),
        decode(
            "npy latents beyond the range", float_npy(-2e6, 1, 4), "-1,000,000 to 1,000,000", "-2000000.0"
        ),
        Bad(
            "too many latents",
            "/decode",
            {"model": "tiny-vae", "latents": [[0]] * 1025},
            400,
            "body.latents",
            ("1 to 1,024", "1,025"),
        ),
    ],
}

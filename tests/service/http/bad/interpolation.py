"""Keys, paths and their options."""

import base64

from tests.service.http.bad.case import GOOD_PNG, Bad

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
    ("key beyond the range", {"keys": [1, [0, 2e6, 0, 0]]}, "body.keys[1][1]", ("1,000,000", "2000000.0")),
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

GROUPS = {
    "Interpolation": [
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
        Bad(
            "one key in the query", "/interpolate?model=tiny-vae&keys=1", {}, 400, "query.keys", ("2 items",)
        ),
        Bad(
            "closed as a number in the query",
            "/interpolate?model=tiny-vae&keys=1,2&closed=1",
            {},
            400,
            "query.closed",
            ("boolean", '"1"'),
        ),
    ],
}

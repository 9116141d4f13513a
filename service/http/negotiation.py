"""Which form an answer takes (RFC 9110, sec. 12.5.1)."""

from functools import lru_cache

from service.errors import NotAcceptable


@lru_cache(maxsize=256)
def choose(accept: str | None, offered: tuple[str, ...]) -> str:
    """The media type to answer in: the client's highest q wins, then its more specific range, then our order.

    Args:
        accept: the header; None means `*/*`.
        offered: what there is, the best first.

    Raises:
        NotAcceptable: the client takes none of `offered`.
    """
    weights = _weights(accept or "*/*")
    candidates = []
    for rank, media_type in enumerate(offered):
        patterns = ("*/*", media_type.partition("/")[0] + "/*", media_type)
        matching = [(specificity, weights[p]) for specificity, p in enumerate(patterns) if p in weights]
        # The most specific range decides: "image/*, image/png;q=0" excludes PNG.
        specificity, q = max(matching, default=(0, 0.0))
        if q > 0:
            candidates.append((q, specificity, -rank, media_type))
    if not candidates:
        raise NotAcceptable.at(
            "header.Accept", f"must allow one of {', '.join(offered)}, got {(accept or '')[:60]!r}"
        )
    return max(candidates)[-1]


def _weights(accept: str) -> dict[str, float]:
    """Media range -> q. A q that is no number in [0, 1] counts as 0: what cannot be read is not wanted."""
    weights: dict[str, float] = {}
    for item in accept.lower().split(","):
        media_range, *parameters = (part.strip() for part in item.split(";"))
        named = dict(p.replace(" ", "").partition("=")[::2] for p in parameters)
        weights[media_range] = _q(named.get("q", "1"))
    return weights


def _q(text: str) -> float:
    try:
        q = float(text)
    except ValueError:
        return 0.0
    return q if 0 <= q <= 1 else 0.0

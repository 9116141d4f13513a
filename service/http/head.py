"""The head of a request: how long it may be, and what it may say only once."""

from starlette.types import Scope

from service.errors import BadRequest, HeadersTooLarge

# Two of these would leave open what the body is, or whom it goes to. (Content-Length is checked by the server.)
_ONCE = ("Content-Type", "Content-Encoding", "Inference-Header-Content-Length", "X-Latentry-Key")


def check(scope: Scope, max_bytes: int) -> None:
    """Check path, query and headers.

    Raises:
        HeadersTooLarge: they have more than `max_bytes` together.
        BadRequest: a header that says what the body is stands there twice.
    """
    given = scope["headers"]
    size = len(scope["path"]) + len(scope["query_string"]) + sum(len(name) + len(v) for name, v in given)
    if size > max_bytes:
        raise HeadersTooLarge(
            f"path, query and headers may have {max_bytes:,} bytes together (a setting of this server); these have more"
        )
    if len(dict(given)) < len(given):
        names = [name for name, _ in given]
        for name in _ONCE:
            if names.count(name.lower().encode()) > 1:
                raise BadRequest.at(f"header.{name}", "must be given once")

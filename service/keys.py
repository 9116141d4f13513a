"""API keys: the file that tells which there are, and `python -m service.keys`, which makes one.

Each line of the file is `scope sha256 [name]`: a scope, the SHA-256 of a key in hexadecimal, and whose it is. Lines
that are empty or begin with # say nothing. The keys themselves are kept nowhere. Several at once are for rotation: add
the new one, restart, have the callers change, drop the old one.
"""

import argparse
import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast, get_args

from service.settings import load_settings

Scope = Literal["use", "admin"]
"""`admin` may do all that `use` may."""

_LINE = re.compile(rf"({'|'.join(get_args(Scope))})\s+([0-9a-f]{{64}})(?:\s+(.+))?")


class KeysError(Exception):
    """A file of keys that cannot be used; the message says which, where in it and why, and quotes nothing of it."""


@dataclass(frozen=True)
class Key:
    """What is known of a key. `name`: for log lines; without one, the first digits of the digest."""

    scope: Scope
    digest: bytes
    name: str


class Keys:
    """Those that callers may have; at least one."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    def find(self, text: bytes) -> Key | None:
        """The key whose text this is. Takes the same time whichever it is, and if it is none."""
        digest = _digest(text)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


@lru_cache(maxsize=1)
def process_keys() -> Keys | None:
    """Those of this process, read once; None: it asks for none.

    Raises:
        KeysError: see `read`.
    """
    path = load_settings().keys_file
    return None if path is None else read(path)


def read(path: Path) -> Keys:
    """Raises KeysError: the file cannot be read, holds no key, the same twice, or a line that is none."""
    try:
        return Keys(_parse(path.read_text("utf-8").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise KeysError(f"{path}: {reason}") from error
    except KeysError as error:
        raise KeysError(f"{path}: {error}") from error


def _parse(lines: Iterable[str]) -> list[Key]:
    keys: dict[bytes, tuple[int, Key]] = {}
    for number, line in enumerate((line.strip() for line in lines), 1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise KeysError(
                f"line {number}: must be `use` or `admin`, the SHA-256 of a key in 64 digits of 0-9 a-f, and a name "
                "if you like (`python -m service.keys` writes such lines)"
            )
        scope, digest, name = cast(Scope, found[1]), bytes.fromhex(found[2]), found[3]
        if digest in keys:
            raise KeysError(f"line {number}: the same key as in line {keys[digest][0]}")
        keys[digest] = (number, Key(scope, digest, name or found[2][:8]))
    if not keys:
        raise KeysError("holds no key, so that nobody could be answered; to ask for none, name no file")
    return [key for _, key in keys.values()]


def _digest(text: bytes) -> bytes:
    # A slow hash protects what people think up. These are 256 random bits: nobody tries them all at any speed.
    return hashlib.sha256(text).digest()


def main(argv: Sequence[str] | None = None) -> int:
    """Make a key. Its line goes to stdout, so that `>> FILE` keeps that alone; the key is shown on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m service.keys",
        description="Make a key: its line for LATENTRY_KEYS_FILE on stdout, the key itself, once, on stderr.",
    )
    parser.add_argument(
        "scope",
        nargs="?",
        choices=get_args(Scope),
        default="use",
        help="admin: POST /admin/reload and GET /metrics, too",
    )
    parser.add_argument("name", nargs="?", type=_name, default="", help="whose it is, for log lines")
    options = parser.parse_args(argv)
    key = secrets.token_urlsafe(32)
    print(f"{options.scope} {_digest(key.encode()).hex()} {options.name}".rstrip())
    print(f"The key, which is kept nowhere: {key}", file=sys.stderr)
    return 0


def _name(text: str) -> str:
    if not text.isprintable():
        raise argparse.ArgumentTypeError("must be one line of text")
    return text


if __name__ == "__main__":
    sys.exit(main())

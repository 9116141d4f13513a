"""Gzipped files from public mirrors: whole and checked, or not at all."""

import gzip
import hashlib
import http.client
import os
import shutil
import tempfile
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from training.errors import DataError

TIMEOUT_S = 30.0
"""Longest wait for a connection, and for each piece of the answer."""
CHUNK_BYTES = 1 << 16


def download_folder(
    folder: Path, mirrors: Sequence[str], sha256: Mapping[str, str], timeout_s: float = TIMEOUT_S
) -> None:
    """Make `folder` with every file of `sha256`; it appears when all are there and right, or not at all.

    `mirrors` are base URLs, tried in turn for each file; `sha256` maps a file name (ending in .gz) to the
    digest of its *unpacked* content, since mirrors pack differently.
    Raises DataError naming every URL tried and why it failed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        partial = Path(scratch) / folder.name
        partial.mkdir()
        for name, digest in sha256.items():
            _download_from_any(
                [f"{mirror.rstrip('/')}/{name}" for mirror in mirrors], partial / name, digest, timeout_s
            )
        try:
            os.rename(partial, folder)
        except OSError:
            # Another process was faster: its folder is as good, for it too appears only when it is whole.
            if not folder.is_dir():
                raise


def _download_from_any(urls: Sequence[str], path: Path, sha256: str, timeout_s: float) -> None:
    failures = []
    for url in urls:
        try:
            _fetch(url, path, timeout_s)
            found = _unpacked_sha256(path)
        except (OSError, EOFError, http.client.HTTPException, zlib.error) as error:
            failures.append(f"{url}: {type(error).__name__}: {error}")
            continue
        if found == sha256:
            return
        failures.append(f"{url}: expected unpacked content with sha256 {sha256}, found {found}")
    raise DataError(
        f"{path.name}: no mirror gave the right file. Tried:\n  "
        + "\n  ".join(failures)
        + "\nCheck the network, or get the files yourself and point --data at their folder."
    )


def _fetch(url: str, path: Path, timeout_s: float) -> None:
    with urllib.request.build_opener().open(url, timeout=timeout_s) as response, path.open("wb") as file:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        with tqdm.wrapattr(
            response, "read", total=total, desc=f"downloading {path.name}", leave=False, disable=None
        ) as body:
            shutil.copyfileobj(body, file, CHUNK_BYTES)
        if total is not None and file.tell() != total:
            raise EOFError(f"expected {total} bytes, found {file.tell()}: the connection was cut")


def _unpacked_sha256(path: Path) -> str:
    with gzip.open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Answers of the service as the typed client gives them."""

import io
import math
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from service.client.results import (
    Codes,
    Floats,
    LatentryError,
    ModelInfo,
    Pictures,
    ReconstructionErrors,
    Scores,
)


def pictures(response: httpx.Response) -> Pictures:
    """Images from npy; seeds and labels from headers, which the service leaves out where they would be long."""
    seeds = _seeds(response.headers.get("X-Latentry-Seeds", ""))
    rate, proposed = (response.headers.get(f"X-Latentry-{name}") for name in ("Acceptance", "Proposed"))
    return Pictures(
        *_served_by(response),
        _array(response.content),
        seeds,
        tuple(int(label) for label in response.headers.get("X-Latentry-Labels", "").split(",") if label),
        float(rate) if rate else None,
        int(proposed) if proposed else None,
    )


def _served_by(response: httpx.Response) -> tuple[str, int]:
    name, _, version = response.headers["X-Latentry-Model"].partition("/")
    return name, int(version)


def _array(npy: bytes) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(npy), allow_pickle=False)
    return array


def _seeds(runs: str) -> tuple[int, ...]:
    """ "7-9,20" -> (7, 8, 9, 20)."""
    pairs = [run.partition("-") for run in runs.split(",") if run]
    return tuple(seed for first, _, last in pairs for seed in range(int(first), int(last or first) + 1))


def codes(response: httpx.Response) -> Codes:
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        arrays = {
            name: _array(archive.read(f"{name}.npy"))
            for name in ("mean", "logvar")
            if f"{name}.npy" in archive.namelist()
        }
    return Codes(*_served_by(response), arrays["mean"], arrays.get("logvar"))


def reconstruction_errors(response: httpx.Response) -> ReconstructionErrors:
    items = response.json()["images"]
    return ReconstructionErrors(
        *_served_by(response),
        mse=np.array([item["mse"] for item in items]),
        psnr=np.array([np.inf if item["psnr"] is None else item["psnr"] for item in items]),
        elbo_nats=_column(items, "elbo_nats"),
        anomaly_percentile=_column(items, "anomaly_percentile"),
    )


def scores(response: httpx.Response) -> Scores:
    answer = response.json()
    items = answer["scores"]
    return Scores(
        *_served_by(response),
        logit=_column(items, "logit"),
        probability=_column(items, "probability"),
        density_ratio=_column(items, "density_ratio"),
        elbo_nats=_column(items, "elbo_nats"),
        bits_per_dim=_column(items, "bits_per_dim"),
        anomaly_percentile=_column(items, "anomaly_percentile"),
        iw_nats=_column(items, "iw_nats"),
        k=answer.get("k"),
    )


def _column(items: Sequence[Mapping[str, Any]], name: str) -> Floats | None:
    """One field of all items, or None where they lack it."""
    values = [item.get(name) for item in items]
    return None if None in values else np.array(values, np.float64)


def model_infos(response: httpx.Response) -> list[ModelInfo]:
    """Fields that a newer service adds are left out."""
    names = [f.name for f in fields(ModelInfo)]
    return [ModelInfo(**{name: item[name] for name in names}) for item in response.json()["models"]]


def error(response: httpx.Response) -> LatentryError:
    """From problem+json; from another answer (a proxy's, say) its text."""
    problem: dict[str, Any] = {}
    if response.headers.get("Content-Type", "").startswith("application/problem+json"):
        problem = response.json()
    return LatentryError(
        response.status_code,
        problem.get("title", response.reason_phrase),
        problem.get("detail", response.text[:500]),
        problem.get("errors", ()),
        _seconds(response.headers.get("Retry-After", "")),
    )


def _seconds(after: str) -> int | None:
    """A `Retry-After` in seconds, which may be a date (RFC 9110, sec. 10.2.3); None where it is neither."""
    if after.isdecimal():
        return int(after)
    try:
        return max(0, math.ceil(parsedate_to_datetime(after).timestamp() - time.time()))
    except ValueError:
        return None

"""Settings of the service, read from the environment: `LATENTRY_MAX_IMAGES=64` sets `max_images`."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _usable_cpus() -> int:
    """CPUs that this process may run on, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


ENV_PREFIX = "LATENTRY_"


class Settings(BaseSettings):
    """Every setting has a default that serves the repository's own models on one machine."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True)

    host: str = Field(
        default="127.0.0.1", description="Address to listen on; 0.0.0.0: all of IPv4, `::` all of IPv6"
    )
    port: int = Field(default=3000, ge=0, le=65535, description="Port to listen on; 0: any that is free")
    models_dir: Path = Field(
        default=Path(__file__).resolve().parent.parent / "models",
        description="Folder of the bundles, `<name>/<version>/`",
    )
    workers: int = Field(
        default_factory=lambda: max(2, _usable_cpus()),
        ge=1,
        description="Worker processes; by default one a usable CPU, and at least 2",
    )
    threads: int = Field(
        default=1,
        ge=1,
        description="onnxruntime threads of a worker; more workers are faster than more threads",
    )
    batch_images: int = Field(
        default=64,
        ge=1,
        description="Most images that requests share a run of a graph for; 1: they share none",
    )
    max_images: int = Field(
        default=1024, ge=1, description="Most images (or frames) that a request may ask for or send"
    )
    max_streamed_images: int = Field(
        default=10_000,
        ge=1,
        description="Most images of /sample as npy or zip, which are sent while the rest is computed",
    )
    max_proposals: int = Field(
        default=8192,
        ge=1,
        description="Most samples that a request with `keep` may look at; it draws and scores them",
    )
    max_latents: int = Field(default=1024, ge=1, description="Most latents that a request may send")
    max_latent: float = Field(
        default=1e6,
        gt=0,
        allow_inf_nan=False,
        description="Largest magnitude of a number of a latent sent; drawn from N(0, I), none passes 9",
    )
    max_importance_samples: int = Field(
        default=16_384,
        ge=1,
        description="Most draws that a request may ask /score for: its images times `k`",
    )
    max_queued_images: int = Field(
        default=4096,
        ge=0,
        description="Images that may wait for their turn in a worker, of short requests and as many of long ones; "
        "beyond it, or beyond three quarters of it while others were told to come again: 429",
    )
    max_body_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1024, description="Longest request body, bytes; beyond it: 413"
    )
    max_held_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1024,
        description="Bytes of bodies that a worker holds at once, coming in or waiting for an answer; beyond it: 429",
    )
    max_header_bytes: int = Field(
        default=32 * 1024,
        ge=1024,
        description="Longest path, query and headers of a request together, bytes; beyond it: 431",
    )
    max_pixels: int = Field(
        default=4 * 1024 * 1024,
        ge=1,
        description="Most pixels (height x width) of an image sent; checked before it is decoded",
    )
    # Python's parser calls itself for each level, and 1,000 calls are allowed in all.
    max_json_depth: int = Field(
        default=32,
        ge=8,
        le=200,
        description="Most lists and objects inside one another in JSON; checked before it is parsed",
    )
    # A digit and a comma become 40 bytes.
    max_json_values: int = Field(
        default=4_000_000,
        ge=1000,
        description="Most commas in JSON, and so values; checked before it is parsed. Other forms have no such limit",
    )
    request_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Seconds after which a request is given up: 504; and a client that reads nothing of its answer",
    )
    # A look at the five bundles of the repository takes 0.4 ms: a five-thousandth of a core.
    reload_interval_s: float = Field(
        default=2.0,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="Seconds between two looks for new versions in the models folder; 0: only a restart sees them",
    )
    admin: bool = Field(
        default=False, description="Answer `POST /admin/reload`; without keys, to whoever reaches the service"
    )
    keys_file: Path | None = Field(
        default=None,
        description="File of API keys, read at the start; `python -m service.keys` makes one. None: no keys are needed",
    )
    head_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="Seconds that the head of a request may take to come: 408; and a new connection to say anything",
    )
    drain_s: float = Field(
        default=0.5,
        ge=0,
        le=3600,
        description="Seconds after SIGTERM in which `/readyz` says 503 and new connections are still answered",
    )
    stop_timeout_s: float = Field(
        default=30.0, gt=0, le=3600, description="Seconds that requests may take to end after that"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe level that is logged"
    )


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The process's settings, read once.

    Raises:
        pydantic.ValidationError: a variable's value is not allowed; the message names it.
    """
    return Settings()

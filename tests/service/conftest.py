"""Fixtures of the service's tests: a folder of tiny models, and the registry that serves them."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from service.folder import ModelsFolder
from service.registry import Registry
from tests.service import bundles

# For `make fuzz`; by default it is 100.
settings.register_profile("fuzz", max_examples=int(os.environ.get("FUZZ_CASES", "10000")))


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every model of tests/service/bundles.py. Read only: a test that changes a bundle writes its own."""
    root = tmp_path_factory.mktemp("models")
    bundles.write_all(root)
    return root


@pytest.fixture(scope="session")
def registry(models_dir: Path) -> Registry:
    return ModelsFolder(models_dir, threads=1).registry

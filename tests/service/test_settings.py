import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTRY_MAX_IMAGES", "7")
    monkeypatch.setenv("LATENTRY_MODELS_DIR", "/somewhere/else")
    assert Settings().max_images == 7
    assert Settings().models_dir == Path("/somewhere/else")


def test_the_defaults_serve_the_repositorys_models_with_several_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.models_dir == Path(__file__).resolve().parents[2] / "models"
    assert settings.workers >= 2
    assert (settings.threads, settings.max_images) == (1, 1024)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKERS", "0"),
        ("THREADS", "0"),
        ("BATCH_IMAGES", "0"),
        ("MAX_IMAGES", "0"),
        ("MAX_LATENTS", "-1"),
        ("MAX_IMPORTANCE_SAMPLES", "0"),
        ("MAX_BODY_BYTES", "64M"),
        ("MAX_PIXELS", "0"),
        ("MAX_LATENT", "inf"),
        ("MAX_JSON_DEPTH", "500"),
        ("MAX_HEADER_BYTES", "0"),
        ("REQUEST_TIMEOUT_S", "0"),
        ("RELOAD_INTERVAL_S", "-1"),
        ("RELOAD_INTERVAL_S", "nan"),
        ("ADMIN", "everyone"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"LATENTRY_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_settings_never_change(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        monkeypatch.setattr(Settings(), "threads", 2)


def test_each_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_service_runs_by_its_settings(tmp_path: Path) -> None:
    script = "from service.app import Latentry; import json; print(json.dumps(Latentry.config))"
    chosen = {"LATENTRY_WORKERS": "3", "LATENTRY_REQUEST_TIMEOUT_S": "7"}
    home = {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, **home, **chosen},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    config = json.loads(result.stdout)
    assert (config["workers"], config["traffic"]["timeout"]) == (3, 12)

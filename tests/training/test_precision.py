"""In which arithmetic a run is trained on what device."""

import json
from pathlib import Path

import pytest

from tests.training.recipes import MINI, small, toml
from training import precision
from training.__main__ import main
from training.run_dir import RunDir


@pytest.mark.parametrize(
    ("asked", "device", "has_bf16", "trained"),
    [
        ("bf16-mixed", "cpu", False, "32-true"),
        ("bf16-mixed", "cpu", True, "bf16-mixed"),
        ("bf16-mixed", "cuda", False, "bf16-mixed"),
        ("32-true", "cpu", True, "32-true"),
    ],
)
def test_bf16_is_for_what_computes_in_it(
    asked: str, device: str, has_bf16: bool, trained: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: has_bf16)
    config = small("vae", precision=asked)
    assert precision.for_device(config, device) == small("vae", precision=trained)


def test_this_cpu_is_what_its_flags_say() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert precision.cpu_has_bf16() == ("avx512_bf16" in flags or "amx_tile" in flags)


def test_a_run_notes_what_it_was_trained_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "little.toml"
    recipe.write_text(toml(small("vae", precision="bf16-mixed", images=64)))
    options = ["train", str(recipe), "--data", str(MINI), "--device", "cpu"]

    def trained_in(has_bf16: bool, out: Path) -> str:
        monkeypatch.setattr(precision, "cpu_has_bf16", lambda: has_bf16)
        assert main([*options, "--out", str(out)]) == 0
        config: dict[str, str] = json.loads(RunDir(out).config.read_text())
        return config["precision"]

    assert trained_in(True, tmp_path / "bf16") == "bf16-mixed"
    assert "does not compute in bf16" not in capsys.readouterr().err
    assert trained_in(False, tmp_path / "plain") == "32-true"
    assert "this CPU does not compute in bf16: small-vae is trained in 32-true" in capsys.readouterr().err
    assert main([*options, "--out", str(tmp_path / "plain"), "--resume"]) == 0

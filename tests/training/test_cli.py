import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.recipes import MINI
from training.__main__ import main
from training.config import recipes


@pytest.mark.parametrize("recipe", recipes())
def test_dry_run_shows_the_config_and_the_networks_and_writes_nothing(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", recipe, "--data", str(MINI), "--images", "1234", "--seed", "5", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert f'"name": "{recipe}"' in out
    assert '"images": 1234' in out
    assert '"seed": 5' in out
    assert "parameters" in out
    assert not list(tmp_path.iterdir())


def test_a_wrong_recipe_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "mnist-flow"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no recipe 'mnist-flow': choose one of ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("count", ["0", "-1", "1.5", "two"])
def test_a_count_is_a_number_from_1_on(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["speedrun", "--processes", count])
    assert end.value.code == 2
    assert f"argument --processes: {count!r} is no number from 1 on" in capsys.readouterr().err


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['training', '--help']\n"
        "from training.__main__ import main\n"
        "main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "train" in result.stdout


def test_training_and_evaluation_need_neither_pydantic_nor_bentoml() -> None:
    code = (
        "import sys\n"
        "for name in ('pydantic', 'bentoml', 'service'): sys.modules[name] = None\n"
        "import training.commands"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.recipes import small
from training.config import load_json, load_recipe, parse, recipes
from training.errors import ConfigError


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_is_read_and_bears_its_files_name(name: str) -> None:
    assert load_recipe(name).name == name


def test_json_beside_the_weights_gives_the_config_back(tmp_path: Path) -> None:
    config = small("gan")
    path = tmp_path / "config.json"
    path.write_text(config.to_json())
    assert load_json(path) == config
    assert load_json(path).sha256() == config.sha256() != small("gan", seed=1).sha256()


def changed(path: str, value: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(small("vae").to_json())
    *parents, last = path.split(".")
    table = data
    for key in parents:
        table = table[key]
    table[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("batchsize", 3, "batchsize: unknown key; there are name"),
        ("model.betta", 1.0, "model.betta: unknown key; there are latent_dim"),
        ("optimizer.lr", "fast", "optimizer.lr = 'fast': must be a float"),
        ("images", 2.5, "images = 2.5: must be a int"),
        ("images", True, "images = True: must be a int"),
        ("images", 0, "images = 0: must be at least 1"),
        ("grid_every_images", 0, "grid_every_images = 0: must be at least 1"),
        ("optimizer.lr", -1.0, "optimizer.lr = -1.0: must not be negative"),
        ("model.beta", -2.0, "model.beta = -2.0: must not be negative"),
        ("model.latent_dim", 0, "model.latent_dim = 0: must be at least 1"),
        ("accumulate", 5, "batch_size = 32: must be a multiple of accumulate = 5"),
        (
            "model.likelihood",
            "poisson",
            "model.likelihood = 'poisson': choose one of 'bernoulli', 'gaussian'",
        ),
        ("model.encoder_channels", [1, 2], "model.encoder_channels = [1, 2]: must have 3 entries"),
        ("model.encoder_channels", [1, 2, "x"], r"model.encoder_channels[2] = 'x': must be a int"),
        ("optimizer", 3, "optimizer = 3: must be a table"),
        ("family", "flow", "family = 'flow': choose one of ae, vae, gan, classifier"),
    ],
)
def test_a_wrong_key_or_value_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(changed(path, value))
    assert message in str(caught.value)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"model\.decoder_channels: missing"):
        parse(json.loads(small("ae").to_json()) | {"model": {}})


def test_an_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'mnist-flow': choose one of .*mnist-gan"):
        load_recipe("mnist-flow")


def test_integers_are_taken_for_floats() -> None:
    assert parse(changed("model.beta", 2)).model == parse(changed("model.beta", 2.0)).model

"""Looks at a models folder that changes while it is served."""

import gc
import json
import logging
import os
import re
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

from service import manifest, operations
from service.folder import Changes, ModelsFolder
from service.registry import Registry
from service.steps import finish
from tests.service import bundles
from tests.service.test_manifest import DAMAGE
from tests.service.test_registry import BAD


def names(registry: Registry) -> list[str]:
    return [str(model) for model in registry.models()]


def look(folder: ModelsFolder, times: int = 1) -> Changes:
    for _ in range(times - 1):
        folder.look(final=False)
    return folder.look(final=False)


def image(registry: Registry, version: int | None = None) -> bytes:
    """What a version makes of one latent."""
    graph = registry.get("tiny-vae", version).graph("generate")
    return graph.run(z=np.ones((1, bundles.DIM), np.float32))[0].tobytes()


def weigh(root: Path, text: str) -> None:
    (root / "tiny-vae" / "traffic.json").write_text(text)


def chosen(registry: Registry) -> set[int]:
    """The versions that 200 requests get, which name none."""
    return {registry.route("tiny-vae", None, lambda i=i: b"%d" % i).version for i in range(200)}  # type: ignore[misc]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    bundles.write_vae(tmp_path / "models")
    return tmp_path / "models"


def test_a_new_version_is_served_from_the_next_look_on(root: Path) -> None:
    folder = ModelsFolder(root)
    old = folder.registry
    before = image(old)
    assert look(folder) == Changes(kept=["tiny-vae/1"])
    assert folder.registry.get("tiny-vae") is old.get("tiny-vae")
    bundles.write_vae(root, version=2, seed=11)
    assert look(folder) == Changes(loaded=["tiny-vae/2"], kept=["tiny-vae/1"])
    assert image(folder.registry) != before == image(folder.registry, 1)
    assert names(old) == ["tiny-vae/1"]  # who has a registry keeps what is in it
    assert image(old) == before


@pytest.mark.parametrize("what", DAMAGE)
def test_a_bad_version_never_replaces_a_good_one(root: Path, what: str) -> None:
    damage, reason = DAMAGE[what]
    folder = ModelsFolder(root)
    model = folder.registry.get("tiny-vae")
    damage(bundles.write_vae(root, version=2, seed=11))
    # Perhaps it is not all there yet; nothing was written since: it is all there is.
    assert look(folder).refused == {}
    refused = look(folder).refused
    assert refused.keys() == {"tiny-vae/2"}
    assert re.search(reason, refused["tiny-vae/2"])
    assert str(root) not in refused["tiny-vae/2"]
    assert folder.registry.get("tiny-vae") is model
    started = ModelsFolder(root).registry
    assert (names(started), dict(started.refused)) == (["tiny-vae/1"], refused)


@pytest.mark.parametrize("what", BAD)
def test_a_bad_model_is_refused_while_it_runs_as_at_its_start(tmp_path: Path, what: str) -> None:
    write, reason = BAD[what]
    root = tmp_path / "models"
    bundles.write_gan(root)
    folder = ModelsFolder(root)
    write(root)
    refused = folder.look(final=True).refused
    assert refused.keys() == {"bad/1"}
    assert re.search(reason, refused["bad/1"])
    assert names(folder.registry) == ["tiny-gan/1"]


def test_a_copy_that_is_being_made_is_not_yet_there(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = bundles.write_vae(root.parent / "source", version=2, seed=11)
    copy = root / "tiny-vae" / "2"
    folder = ModelsFolder(root)
    copy.mkdir()
    assert look(folder).refused == {}
    for file in sorted(source.iterdir(), reverse=True):  # the manifest is not the last
        data = file.read_bytes()
        for end in (len(data) // 2, len(data)):
            (copy / file.name).write_bytes(data[:end])
            assert look(folder).refused == {}
    assert names(folder.registry) == ["tiny-vae/1", "tiny-vae/2"]
    assert caplog.text == ""


def test_a_copy_that_halted_is_refused_once_and_served_when_it_is_done(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("service"), "propagate", True)
    folder = ModelsFolder(root)
    new = bundles.write_vae(root, version=2, seed=11)
    kept = (new / "encode.onnx").rename(root.parent / "encode.onnx")
    assert "missing" in look(folder, times=5).refused["tiny-vae/2"]
    assert caplog.text.count("tiny-vae/2 refused") == 1
    kept.rename(new / "encode.onnx")
    assert look(folder) == Changes(loaded=["tiny-vae/2"], kept=["tiny-vae/1"])


def test_a_version_that_was_changed_under_its_number_is_served_as_it_was(root: Path) -> None:
    folder = ModelsFolder(root)
    before = image(folder.registry)
    data = (root / "tiny-vae/1/encode.onnx").read_bytes()
    (root / "tiny-vae/1/encode.onnx").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "sha256 is" in look(folder, times=2).refused["tiny-vae/1"]
    shutil.rmtree(root / "tiny-vae/1")
    bundles.write_vae(root, seed=99)
    reason = "tiny-vae/1: is another bundle than the one that is served as this version"
    assert look(folder, times=2).refused == {"tiny-vae/1": reason}
    assert image(folder.registry) == before
    shutil.rmtree(root / "tiny-vae/1")
    bundles.write_vae(root)
    assert look(folder) == Changes(kept=["tiny-vae/1"])


def test_a_version_that_is_gone_is_dropped_and_its_sessions_with_it(root: Path) -> None:
    bundles.write_vae(root, version=2, seed=11)
    folder = ModelsFolder(root)
    model = folder.registry.get("tiny-vae", 1)
    finish(operations.sample(model, [7]))
    graph = weakref.ref(model.graphs["generate"])
    del model
    shutil.rmtree(root / "tiny-vae/1")
    gc.disable()
    try:
        assert look(folder) == Changes(kept=["tiny-vae/2"], dropped=["tiny-vae/1"])
        assert graph() is None  # at once: there is no cycle that only the collector would find
    finally:
        gc.enable()


def test_the_last_of_a_model_stays_until_a_final_look(root: Path) -> None:
    bundles.write_gan(root)
    bundles.write_vae(root, version=2, seed=11)
    folder = ModelsFolder(root)
    shutil.rmtree(root / "tiny-vae")
    changes = look(folder)
    assert (changes.kept, changes.dropped) == (["tiny-gan/1", "tiny-vae/2"], ["tiny-vae/1"])
    assert "served on" in changes.refused["tiny-vae/2"]
    bundles.write_vae(root, version=3, seed=12)
    assert look(folder) == Changes(loaded=["tiny-vae/3"], kept=["tiny-gan/1"], dropped=["tiny-vae/2"])
    shutil.rmtree(root / "tiny-vae")
    assert folder.look(final=True) == Changes(kept=["tiny-gan/1"], dropped=["tiny-vae/3"])


def test_a_folder_that_went_away_changes_nothing(root: Path) -> None:
    folder = ModelsFolder(root)
    before = image(folder.registry)
    away = root.rename(root.parent / "away")
    for _ in range(2):
        assert folder.look(final=True).fault == "models/ holds no bundle: nothing is changed"
        root.mkdir(exist_ok=True)  # and now it is empty
    assert image(folder.registry) == before
    root.rmdir()
    away.rename(root)
    assert look(folder) == Changes(kept=["tiny-vae/1"])


def test_a_model_whose_folder_cannot_be_read_is_not_gone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundles.write_gan(root)
    bundles.write_gan(root, version=2, seed=35)
    folder = ModelsFolder(root)
    versions = manifest.versions

    def refuse(path: Path) -> list[int]:
        if path.name == "tiny-gan":
            raise PermissionError("not yours")
        return versions(path)

    monkeypatch.setattr(manifest, "versions", refuse)
    bundles.write_vae(root, version=2, seed=11)
    for final in (False, True):
        folder.look(final=final)
        assert names(folder.registry) == ["tiny-gan/1", "tiny-gan/2", "tiny-vae/1", "tiny-vae/2"]
        assert folder.registry.refused == {"tiny-gan": "tiny-gan: cannot be read: not yours"}
    assert names(ModelsFolder(root).registry) == ["tiny-vae/1", "tiny-vae/2"]


def test_weights_come_and_go(root: Path) -> None:
    bundles.write_vae(root, version=2, seed=11)
    folder = ModelsFolder(root)
    assert chosen(folder.registry) == {2}
    weigh(root, '{"1": 1, "2": 1}')
    look(folder)
    assert chosen(folder.registry) == {1, 2}
    assert [folder.registry.share(model) for model in folder.registry.models()] == [0.5, 0.5]
    bundles.write_vae(root, version=3, seed=12)
    look(folder)
    assert chosen(folder.registry) == {1, 2}  # a new version has no weight yet
    assert folder.registry.get("tiny-vae").version == 3
    (root / "tiny-vae/traffic.json").unlink()
    look(folder)
    assert chosen(folder.registry) == {3}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "tiny-vae/traffic.json: cannot be read as JSON"),
        ('{"1": 1, "4": 1}', "tiny-vae/traffic.json: there is no version 4; versions: 1, 2"),
    ],
)
def test_bad_weights_leave_those_before_in_place(root: Path, text: str, reason: str) -> None:
    bundles.write_vae(root, version=2, seed=11)
    weigh(root, '{"1": 1}')
    folder = ModelsFolder(root)
    assert chosen(folder.registry) == {1}
    weigh(root, text)
    assert look(folder, times=2).refused["tiny-vae/traffic.json"].startswith(reason)
    assert chosen(folder.registry) == {1}
    # Without any before, nothing is known: at the start this is an error.
    started = ModelsFolder(root).registry
    assert started.undivided["tiny-vae"].startswith(reason)
    with pytest.raises(Exception, match=re.escape(reason)):
        chosen(started)
    assert started.route("tiny-vae", 1, lambda: b"").version == 1


def test_weights_may_be_there_before_their_version(root: Path) -> None:
    folder = ModelsFolder(root)
    weigh(root, '{"1": 1, "2": 1}')
    assert "no version 2" in look(folder).refused["tiny-vae/traffic.json"]
    assert chosen(folder.registry) == {1}
    bundles.write_vae(root, version=2, seed=11)
    assert look(folder).refused == {}
    assert chosen(folder.registry) == {1, 2}


def test_the_weight_of_a_refused_version_goes_to_the_others(root: Path) -> None:
    (bundles.write_vae(root, version=2, seed=11) / "encode.onnx").unlink()
    weigh(root, '{"1": 1, "2": 99}')
    registry = ModelsFolder(root).registry
    assert registry.refused.keys() == {"tiny-vae/2"}
    assert chosen(registry) == {1}


def test_what_is_as_it_was_is_not_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundles.write_vae(root, version=2, seed=11) / "encode.onnx").unlink()
    weigh(root, json.dumps({"1": 1}))
    folder = ModelsFolder(root)

    def read(*_: object, **__: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr(Path, "open", read)
    monkeypatch.setattr(Path, "read_bytes", read)
    for final in (False, True):
        assert folder.look(final=final).kept == ["tiny-vae/1"]
    monkeypatch.undo()
    os.utime(root / "tiny-vae/1/encode.onnx")
    assert look(folder).kept == ["tiny-vae/1"]
    assert folder.registry.refused.keys() == {"tiny-vae/2"}

import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto
from onnx.external_data_helper import set_external_data

from service import manifest
from service.errors import NotFound
from service.folder import ModelsFolder
from service.registry import Registry
from tests.service import bundles
from tests.service.bundles import GREY, Net


def test_models_are_listed_by_name_and_version(registry: Registry) -> None:
    assert [str(model) for model in registry.models()] == [
        "tiny-ae/1",
        "tiny-cgan/1",
        "tiny-gan/1",
        "tiny-gan/2",
        "tiny-prior/1",
        "tiny-rgb/1",
        "tiny-vae/1",
    ]
    assert registry.ready
    assert registry.refused == {}


def test_the_latest_version_is_the_largest_number(tmp_path: Path) -> None:
    for version in (9, 10, 2):
        bundles.write_gan(tmp_path, version=version)
    registry = ModelsFolder(tmp_path).registry
    assert registry.get("tiny-gan").version == 10
    assert registry.get("tiny-gan", 2).version == 2
    assert [model.version for model in registry.models()] == [2, 9, 10]


def test_a_model_says_what_it_is(models_dir: Path, registry: Registry) -> None:
    model = registry.get("tiny-vae")
    folder = models_dir / "tiny-vae" / "1"
    assert (model.name, model.version, model.folder) == ("tiny-vae", 1, folder)
    assert model.digest == manifest.read_bundle(folder).sha256()
    assert registry.get("tiny-gan", 1).digest != registry.get("tiny-gan", 2).digest


def test_what_is_not_there_is_not_found_and_what_is_there_is_listed(registry: Registry) -> None:
    with pytest.raises(NotFound, match=r"no model 'mnist'; models: tiny-ae, tiny-cgan, tiny-gan, tiny-prior"):
        registry.get("mnist")
    with pytest.raises(NotFound, match=r"'tiny-gan' has no version 3; versions: 1, 2"):
        registry.get("tiny-gan", 3)
    with pytest.raises(NotFound, match=r"tiny-gan/2 has no 'encode' graph; it has: discriminate, generate"):
        registry.get("tiny-gan").graph("encode")


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_nothing_to_serve_is_not_ready(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    registry = ModelsFolder(tmp_path / folder).registry
    assert not registry.ready
    assert registry.models() == []
    with pytest.raises(NotFound, match="models: none"):
        registry.get("any")


def test_what_is_no_version_of_a_model_is_passed_over(tmp_path: Path) -> None:
    written = bundles.write_vae(tmp_path)
    (tmp_path / "README.md").write_text("models")
    (tmp_path / ".cache" / "1").mkdir(parents=True)
    shutil.copytree(written, tmp_path / "tiny-vae" / ".2-half-written")
    registry = ModelsFolder(tmp_path).registry
    assert [str(model) for model in registry.models()] == ["tiny-vae/1"]
    assert registry.refused == {}


def with_golden(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """A bundle whose golden arrays were changed before it was written; every digest is right."""

    def write(root: Path) -> None:
        graphs = {"generate": bundles.generate(GREY, seed=1)}
        arrays = bundles.golden(graphs)
        change(arrays)
        bundles.write(root, "bad", graphs, image=GREY, golden_arrays=arrays)

    return write


def shift(by: float) -> Callable[[dict[str, Any]], object]:
    def change(arrays: dict[str, Any]) -> None:
        arrays["generate.image"][2, 0, 3, 4] += by

    return change


def one_row(arrays: dict[str, Any]) -> None:
    for name in arrays:
        arrays[name] = arrays[name][:1]


def rewritten(root: Path, change: Callable[[dict[str, bytes]], object], **fields: object) -> None:
    """A good bundle written again with other files, under right digests."""
    source = bundles.write_vae(root.parent / "source")
    files = {p.name: p.read_bytes() for p in source.iterdir() if p.name != "manifest.json"}
    change(files)
    kept = manifest.read_bundle(source).model_dump(exclude={"files", "schema_version"})
    manifest.write_bundle(root, {**kept, "name": "bad", **fields}, files)


def pickled(arrays: dict[str, Any]) -> None:
    arrays["generate.z"] = np.array([print], dtype=object)


def many_rows(arrays: dict[str, Any]) -> None:
    arrays["generate.z"] = np.zeros((1000, 4), np.float32)


def coupled() -> tuple[ModelProto, manifest.Operation]:
    """A discriminator that subtracts the mean of the batch from each logit."""
    _, operation = bundles.discriminate(GREY, seed=1)
    net = Net(1)
    net.add("ReduceMean", "image", axes=[1, 2, 3], keepdims=0)
    each = net.last
    net.add("Sub", each, net.add("ReduceMean", each, axes=[0], keepdims=1), to="logit")
    return net.model(operation.inputs, operation.outputs), operation


def write_coupled(root: Path) -> None:
    bundles.write(root, "bad", {"discriminate": coupled()}, image=GREY, latent=None)


def wrong_shape(root: Path) -> None:
    """The graph takes latents of 5 numbers, the manifest says 4."""
    expected = {"generate": bundles.generate(GREY, seed=1)}
    graphs = {"generate": (bundles.generate(GREY, seed=1, dim=5)[0], expected["generate"][1])}
    bundles.write(root, "bad", graphs, image=GREY, golden_arrays=bundles.golden(expected))


def external_data(root: Path) -> None:
    """A graph whose weights are kept in a file that lies elsewhere, and is there."""
    model, operation = bundles.generate(GREY, seed=1)
    arrays = bundles.golden({"generate": (model, operation)})
    weights = model.graph.initializer[-1]
    (root / "secret.bin").write_bytes(weights.raw_data)
    set_external_data(weights, "../../secret.bin")
    weights.ClearField("raw_data")
    bundles.write(root, "bad", {"generate": (model, operation)}, image=GREY, golden_arrays=arrays)


def linked_out(root: Path) -> None:
    target = bundles.write_vae(root.parent / "elsewhere")
    (root / "tiny-vae").mkdir()
    (root / "tiny-vae" / "1").symlink_to(target)
    (root / "tiny-vae").rename(root / "bad")


def write_nameless_classes(root: Path) -> None:
    bundles.write(root, "bad", {"generate": bundles.generate(GREY, seed=1, classes=3)}, image=GREY)


def write_then_flip(root: Path) -> None:
    folder = bundles.write(root, "bad", {"generate": bundles.generate(GREY, seed=1)}, image=GREY)
    data = bytearray((folder / "generate.onnx").read_bytes())
    data[100] ^= 1
    (folder / "generate.onnx").write_bytes(data)


def write_file(root: Path) -> None:
    (root / "bad").mkdir()
    (root / "bad" / "1").write_text("")


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (write_then_flip, r"generate\.onnx: sha256 is"),
    "not a folder": (write_file, "cannot be read"),
    "opset": (
        lambda r: rewritten(r, lambda f: None, opset=18),
        r"imports opset \[17\]; the manifest says 18",
    ),
    "wrong shape": (wrong_shape, r"generate\.onnx: input z has shape .*5\]; the manifest says"),
    "cut short": (
        lambda r: rewritten(r, lambda f: f.update({"encode.onnx": f["encode.onnx"][:-100]})),
        r"encode\.onnx: is not an ONNX file, or is cut short",
    ),
    "external data": (external_data, r"generate\.onnx: keeps tensors in other files"),
    "linked out": (linked_out, r"bad/1: leads out of the models folder"),
    "swapped graphs": (
        lambda r: rewritten(r, lambda f: f.update({"encode.onnx": f["generate.onnx"]})),
        r"encode\.onnx: inputs are \['z'\]; the manifest says \['image'\]",
    ),
    "no golden": (lambda r: rewritten(r, lambda f: f.pop("golden.npz")), r"golden\.npz: missing"),
    "golden is no zip": (
        lambda r: rewritten(r, lambda f: f.update({"golden.npz": b"zip"})),
        r"golden\.npz: cannot be read: File is not a zip",
    ),
    "golden holds a pickle": (with_golden(pickled), r"generate\.z: dtype must be float32 \(<f4\), got \|O"),
    "golden is a bomb": (with_golden(many_rows), r"golden\.npz: generate\.z has more than 256 rows"),
    "golden lacks an array": (with_golden(lambda a: a.pop("generate.z")), r"expected .*'generate\.z'"),
    "golden has another": (with_golden(lambda a: a.update(extra=a["generate.z"])), "holds .*'extra'"),
    "golden has one row": (with_golden(one_row), "fewer than two rows"),
    "golden differs": (
        with_golden(shift(2e-4)),
        r"image differs from golden\.npz by 0\.0002; allowed: 0\.0001",
    ),
    "golden differs below": (with_golden(shift(-2e-4)), r"image differs from golden\.npz by 0\.0002"),
    "golden is NaN": (with_golden(shift(np.nan)), r"image differs from golden\.npz by nan"),
    "coupled": (write_coupled, r"logit of golden row 0 is not bit-equal alone and in a batch"),
    "classes without names": (write_nameless_classes, "takes a label, but the manifest has no class_names"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_bundle_is_refused_and_the_others_are_served(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, reason = BAD[what]
    root = tmp_path / "models"
    bundles.write_gan(root)
    write(root)
    monkeypatch.setattr(logging.getLogger("service"), "propagate", True)
    registry = ModelsFolder(root).registry
    assert [str(model) for model in registry.models()] == ["tiny-gan/1"]
    assert list(registry.refused) == ["bad/1"]
    (said,) = registry.refused.values()
    assert re.search(reason, said)
    assert str(tmp_path) not in said
    assert "bad/1 refused" in caplog.text


def test_a_file_that_changes_once_it_was_verified_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = bundles.write_gan(tmp_path / "other", seed=77)
    bundles.write_gan(tmp_path / "models")
    read = manifest.read_bundle

    def read_then_change(folder: Path) -> manifest.Manifest:
        bundle = read(folder)
        shutil.copy(other / "generate.onnx", folder / "generate.onnx")
        return bundle

    monkeypatch.setattr(manifest, "read_bundle", read_then_change)
    registry = ModelsFolder(tmp_path / "models").registry
    assert registry.models() == []
    assert registry.refused["tiny-gan/1"].startswith("tiny-gan/1/generate.onnx: sha256 is")


def test_golden_outputs_may_differ_as_far_as_machines_do(tmp_path: Path) -> None:
    with_golden(shift(5e-5))(tmp_path)
    assert ModelsFolder(tmp_path).registry.refused == {}


def test_a_bad_version_leaves_the_good_one_in_place(tmp_path: Path) -> None:
    bundles.write_gan(tmp_path)
    newer = bundles.write_gan(tmp_path, version=2)
    (newer / "generate.onnx").unlink()
    registry = ModelsFolder(tmp_path).registry
    assert registry.get("tiny-gan").version == 1
    assert list(registry.refused) == ["tiny-gan/2"]

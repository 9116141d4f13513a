import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from service import manifest
from service.manifest import BundleError
from tests.service import bundles


def log_prior() -> dict[str, Any]:
    """As an operation of the manifest, with another's file."""
    z = {"name": "z", "dtype": "float32", "shape": ["N", bundles.DIM]}
    density = {"name": "log_density", "dtype": "float32", "shape": ["N"]}
    return {"graph": "encode.onnx", "inputs": [z], "outputs": [density]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bundles.write_vae(tmp_path)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "manifest.json"
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def test_a_written_bundle_reads_back(folder: Path) -> None:
    got = manifest.read_bundle(folder)
    assert (got.name, got.version, folder.name) == ("tiny-vae", 1, "1")
    assert got.image == bundles.GREY
    assert set(got.files) == {"generate.onnx", "encode.onnx", "golden.npz"}
    data = (folder / "encode.onnx").read_bytes()
    assert got.files["encode.onnx"].sha256 == hashlib.sha256(data).hexdigest()
    assert got.files["encode.onnx"].bytes == len(data)
    # Nothing but the version is left beside it, and the server's user may read it.
    assert os.listdir(folder.parent) == ["1"]
    assert folder.stat().st_mode & 0o777 == 0o755


def test_the_digest_names_the_content(tmp_path: Path) -> None:
    one = manifest.read_bundle(bundles.write_vae(tmp_path / "a"))
    same = manifest.read_bundle(bundles.write_vae(tmp_path / "b"))
    other = manifest.read_bundle(bundles.write_vae(tmp_path / "c", seed=11))
    assert one.sha256() == same.sha256() != other.sha256()


def flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / "encode.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "encode.onnx").write_bytes(data)


def cut_short(folder: Path) -> None:
    (folder / "encode.onnx").write_bytes((folder / "encode.onnx").read_bytes()[:-1])


def link(folder: Path) -> None:
    target = (folder / "encode.onnx").rename(folder.parent / "elsewhere.onnx")
    (folder / "encode.onnx").symlink_to(target)


def link_manifest(folder: Path) -> None:
    target = (folder / "manifest.json").rename(folder.parent / "elsewhere.json")
    (folder / "manifest.json").symlink_to(target)


def pipe(folder: Path) -> None:
    """Who opens it waits for a writer."""
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")


def list_file(name: str) -> Callable[[Path], object]:
    """In the manifest, under another name, which is a path."""
    return lambda f: edit(f, lambda m: m["files"].update({name: m["files"]["golden.npz"]}))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (flip_a_byte, r"encode\.onnx: sha256 is"),
    "short": (cut_short, r"encode\.onnx: has [\d,]+ bytes; the manifest says"),
    "missing": (lambda f: (f / "encode.onnx").unlink(), r"encode\.onnx: listed in the manifest, but missing"),
    "surplus": (lambda f: (f / "extra.bin").write_bytes(b""), r"extra\.bin: not listed in the manifest"),
    "symlink": (link, r"encode\.onnx: must be a plain file"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json: cannot be read"),
    "not JSON": (lambda f: (f / "manifest.json").write_text("{"), "manifest.json: cannot be read"),
    "not an object": (lambda f: (f / "manifest.json").write_text("[]"), "expected a JSON object"),
    "truncated": (
        lambda f: (f / "manifest.json").write_bytes((f / "manifest.json").read_bytes()[:-20]),
        "manifest.json: cannot be read as JSON",
    ),
    "deep": (
        lambda f: (f / "manifest.json").write_text("[" * 100_000),
        "manifest.json: cannot be read as JSON: .*recursion",
    ),
    "oversized": (
        lambda f: (f / "manifest.json").write_bytes(b" " * manifest.MAX_MANIFEST_BYTES + b"{}"),
        r"manifest.json: .* has 1,048,578 bytes; allowed: 1,048,576",
    ),
    "linked manifest": (link_manifest, "manifest.json: .* must be a plain file"),
    "pipe": (pipe, "manifest.json: .* must be a plain file"),
    "surplus folder": (lambda f: (f / "more").mkdir(), r"more: not listed in the manifest"),
    "schema": (
        lambda f: edit(f, lambda m: m.update(schema_version=2)),
        "schema_version is 2; this server reads 1",
    ),
    "no schema": (
        lambda f: edit(f, lambda m: m.pop("schema_version")),
        "schema_version is None; this server",
    ),
    "unknown field": (lambda f: edit(f, lambda m: m.update(colour="red")), "colour: Extra inputs"),
    "NaN metric": (lambda f: edit(f, lambda m: m["metrics"].update(mse=float("nan"))), "metrics.mse"),
    "other version": (lambda f: edit(f, lambda m: m.update(version=7)), "names tiny-vae/7, but lies in"),
    "other name": (lambda f: edit(f, lambda m: m.update(name="mnist")), r"names mnist/\d, but lies in"),
    "path in name": (
        lambda f: edit(f, lambda m: m["operations"]["encode"].update(graph="../x.onnx")),
        "operations.encode.graph",
    ),
    "absolute path": (
        lambda f: edit(f, lambda m: m["operations"]["encode"].update(graph="/etc/passwd")),
        "operations.encode.graph",
    ),
    "listed path": (list_file("../elsewhere.onnx"), r"files\.\.\./elsewhere\.onnx"),
    "listed absolute path": (list_file("/etc/passwd"), r"files\./etc/passwd"),
    "old opset": (lambda f: edit(f, lambda m: m.update(opset=16)), "opset"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_bundle_is_refused_with_the_file_and_the_reason(folder: Path, what: str) -> None:
    damage, reason = DAMAGE[what]
    damage(folder)
    with pytest.raises(BundleError, match=reason):
        manifest.read_bundle(folder)


def test_what_is_opened_is_what_was_verified(folder: Path) -> None:
    bundle = manifest.read_bundle(folder)
    good = (folder / "encode.onnx").read_bytes()
    assert manifest.read_file(folder, "encode.onnx", bundle) == good
    for damage, reason in (
        (flip_a_byte, "sha256 is"),
        (lambda f: (f / "encode.onnx").write_bytes(good + b"x"), "bytes; allowed:"),
        (link, "must be a plain file"),
        (lambda f: (f / "encode.onnx").unlink(), "No such file"),
    ):
        damage(folder)
        with pytest.raises(BundleError, match=rf"encode\.onnx: .*{reason}"):
            manifest.read_file(folder, "encode.onnx", bundle)
    with pytest.raises(BundleError, match="the manifest does not list it"):
        manifest.read_file(folder, "manifest.json", bundle)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda m: m["latent"].update(dim=5),
            r"generate: inputs are \(z: float32\['N', 4\]\); expected \(z: float32\['N', 5\]",
        ),
        (lambda m: m["image"].update(width=9), r"generate: outputs are .* expected .*\['N', 1, 8, 9\]"),
        (lambda m: m.update(latent=None), "operations.generate: needs `latent`"),
        (
            lambda m: m["operations"]["encode"]["outputs"].reverse(),
            r"encode: outputs are \(logvar: .* expected \(mean: ",
        ),
        (lambda m: m["operations"]["encode"]["inputs"][0].update(dtype="int64"), "encode: inputs are"),
        (lambda m: m["files"].pop("encode.onnx"), "encode: graph 'encode.onnx' is not listed in `files`"),
        (lambda m: m["operations"].update(invert=m["operations"]["encode"]), "operations.invert"),
        (lambda m: m["operations"].clear(), "operations"),
        (lambda m: m["latent"].update(prior="learned"), "operations.log_prior: given for a learned prior"),
        (
            lambda m: m["operations"].update(log_prior=log_prior()),
            "operations.log_prior: given for a learned prior",
        ),
        (
            lambda m: (m["latent"].update(prior="learned"), m["operations"].update(log_prior=log_prior())),
            "operations.prior: missing",
        ),
        (lambda m: m["likelihood"].update(stddev=0.1), "`stddev` is given for a gaussian"),
        (lambda m: m["likelihood"].update(kind="gaussian"), "`stddev` is given for a gaussian"),
        (lambda m: m["anomaly"]["quantiles"].reverse(), "`quantiles` must not decrease"),
        (lambda m: m["anomaly"]["quantiles"].pop(), "anomaly.quantiles"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    edit(folder, change)
    with pytest.raises(BundleError, match=reason):
        manifest.read_bundle(folder)


def test_a_published_version_never_changes(tmp_path: Path, folder: Path) -> None:
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(FileExistsError, match="a published version never changes"):
        bundles.write_vae(tmp_path, seed=11)
    assert (folder / "manifest.json").read_bytes() == before


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="no space"):
        bundles.write_vae(tmp_path)
    assert list((tmp_path / "tiny-vae").iterdir()) == []


def test_fields_that_make_no_manifest_write_nothing(tmp_path: Path) -> None:
    graphs = {"discriminate": bundles.discriminate(bundles.GREY, seed=1)}
    with pytest.raises(ValidationError, match="licence"):
        bundles.write(tmp_path, "bad", graphs, image=bundles.GREY, dataset={"name": "x", "source": "y"})
    assert list(tmp_path.iterdir()) == []


def test_versions_are_numbers_in_the_order_of_numbers(tmp_path: Path) -> None:
    for name in ("10", "9", "01", "0", ".11-abc", "12-draft", "notes"):
        (tmp_path / name).mkdir()
    assert manifest.versions(tmp_path) == [9, 10]


@pytest.mark.parametrize("knots", [[(0, 0)], [(0, 0), (0, 1)], [(0, 1), (1, 1)], [(0, 0), (2, 2), (1, 3)]])
def test_a_calibration_that_reverses_scores_is_refused(knots: list[tuple[float, float]]) -> None:
    with pytest.raises(ValidationError, match=r"must rise strictly|at least 2"):
        manifest.Score(loss="hinge", knots=tuple(knots), calibrated_on="test")

"""The bundle contract: what `models/<name>/<version>/` holds.

`training` writes a bundle, `service` reads it, and nothing else is shared between the two. A bundle is
`manifest.json` and the files that it lists; a folder that does not match its manifest is refused whole.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1024 * 1024
BATCH = "N"

OperationName = Literal["generate", "encode", "discriminate", "prior", "log_prior"]
DType = Literal["float32", "int64"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=100)]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=64)]


class BundleError(Exception):
    """A bundle does not keep the contract. The message names the file and the reason."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class Tensor(_Frozen):
    """A graph input or output. `shape` starts with the symbolic batch axis "N"."""

    name: str
    dtype: DType
    shape: tuple[Literal["N"] | Annotated[int, Field(ge=1)], ...]


class Operation(_Frozen):
    """One ONNX graph."""

    graph: FileName
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Image(_Frozen):
    """Images of the model: `channels` 1 is grey, 3 is RGB. In graphs they are float32 NCHW in [0, 1]."""

    height: Annotated[int, Field(ge=1, le=4096)]
    width: Annotated[int, Field(ge=1, le=4096)]
    channels: Literal[1, 3]


class Latent(_Frozen):
    """`prior` is the distribution that training assumed of z; None where the model has none (a plain AE).

    learned: `prior` draws from it, and `log_prior` is its density.
    """

    dim: Annotated[int, Field(ge=1)]
    prior: Literal["standard_normal", "learned"] | None


class Likelihood(_Frozen):
    """p(x|z) per pixel, with the `generate` image as its mean. `stddev` belongs to the Gaussian alone."""

    kind: Literal["bernoulli", "gaussian"]
    stddev: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _stddev_iff_gaussian(self) -> Self:
        if (self.stddev is not None) != (self.kind == "gaussian"):
            raise ValueError("`stddev` is given for a gaussian likelihood, and only for one")
        return self


class Anomaly(_Frozen):
    """Distribution of a per-image statistic over images of `split`; a percentile is read off `quantiles`.

    `quantiles[i]` is the i-th percentile, i = 0..100, not decreasing. Larger statistic: more anomalous.
    """

    statistic: Literal["mse", "negative_elbo_nats"]
    split: str
    quantiles: Annotated[tuple[float, ...], Field(min_length=101, max_length=101)]

    @model_validator(mode="after")
    def _sorted(self) -> Self:
        if any(a > b for a, b in pairwise(self.quantiles)):
            raise ValueError("`quantiles` must not decrease")
        return self


class Score(_Frozen):
    """Log odds of "real" from a discriminator's logit: a line through `knots`, straight between and beyond them.

    Two knots are Platt's scaling (1999).
    """

    loss: str
    knots: Annotated[tuple[tuple[float, float], ...], Field(min_length=2)]
    """(logit, log odds)"""
    calibrated_on: str

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(
            a >= b for knot, following in pairwise(self.knots) for a, b in zip(knot, following, strict=True)
        ):
            raise ValueError(
                "`knots` must rise strictly, in both numbers: no order of scores may be reversed"
            )
        return self


class Dataset(_Frozen):
    name: str
    licence: str
    source: str


class File(_Frozen):
    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Manifest(_Frozen):
    """`manifest.json`. `operations` maps what the model can do to the graph that does it."""

    schema_version: Literal[1]
    name: ModelName
    version: Annotated[int, Field(ge=1)]
    family: str
    description: str
    operations: Annotated[dict[OperationName, Operation], Field(min_length=1)]
    image: Image
    latent: Latent | None
    likelihood: Likelihood | None = None
    anomaly: Anomaly | None = None
    score: Score | None = None
    class_names: tuple[str, ...] | None = None
    dataset: Dataset
    opset: Annotated[int, Field(ge=17)]
    exporter: dict[str, str]
    training_config_sha256: Sha256
    git_commit: str
    metrics: dict[str, float]
    files: dict[FileName, File]

    @model_validator(mode="after")
    def _graphs_have_the_signature_of_their_operation(self) -> Self:
        for name, operation in self.operations.items():
            if operation.graph not in self.files:
                raise ValueError(f"operations.{name}: graph {operation.graph!r} is not listed in `files`")
            for kind, got, allowed in zip(
                ("inputs", "outputs"),
                (operation.inputs, operation.outputs),
                self._signatures(name),
                strict=True,
            ):
                if got not in allowed:
                    raise ValueError(
                        f"operations.{name}: {kind} are {_show(got)}; "
                        f"expected {' or '.join(_show(a) for a in allowed)}"
                    )
        return self

    @model_validator(mode="after")
    def _a_learned_prior_has_its_graphs(self) -> Self:
        learned = self.latent is not None and self.latent.prior == "learned"
        if ("log_prior" in self.operations) != learned:
            raise ValueError("operations.log_prior: given for a learned prior (`latent`), and only for one")
        if learned and "prior" not in self.operations:
            raise ValueError("operations.prior: missing; the learned prior is drawn from by it")
        return self

    def _signatures(self, name: OperationName) -> tuple[list[tuple[Tensor, ...]], list[tuple[Tensor, ...]]]:
        """Allowed inputs and allowed outputs of an operation (the table of ONNX graphs in the README)."""
        if self.latent is None and name != "discriminate":
            raise ValueError(f"operations.{name}: needs `latent`")
        dim = self.latent.dim if self.latent else 1
        image = Tensor(
            name="image",
            dtype="float32",
            shape=(BATCH, self.image.channels, self.image.height, self.image.width),
        )
        label = Tensor(name="label", dtype="int64", shape=(BATCH,))

        def vector(name: str) -> Tensor:
            return Tensor(name=name, dtype="float32", shape=(BATCH, dim))

        match name:
            case "generate":
                return [(vector("z"),), (vector("z"), label)], [(image,)]
            case "encode":
                return [(image,)], [(vector("mean"),), (vector("mean"), vector("logvar"))]
            case "discriminate":
                return [(image,)], [(Tensor(name="logit", dtype="float32", shape=(BATCH,)),)]
            case "prior":
                return [(vector("eps"),)], [(vector("z"),)]
            case "log_prior":
                return [(vector("z"),)], [(Tensor(name="log_density", dtype="float32", shape=(BATCH,)),)]

    def sha256(self) -> str:
        """Digest of the manifest, which holds every file's digest: it names the bundle's exact content."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def read_bundle(folder: Path) -> Manifest:
    """Read and verify a bundle: schema, folder name, and the digest and size of every file.

    Raises:
        BundleError: anything is missing, surplus, changed or not understood.
    """
    path = folder / MANIFEST
    try:
        raw = json.loads(read_plain(path, MAX_MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(raw, dict):
        raise BundleError(f"{path}: expected a JSON object")
    if raw.get("schema_version") != SCHEMA_VERSION:
        raise BundleError(
            f"{path}: schema_version is {raw.get('schema_version')!r}; this server reads {SCHEMA_VERSION}"
        )
    try:
        manifest = Manifest.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'manifest'}: {e['msg']}" for e in error.errors()[:5]
        )
        raise BundleError(f"{path}: {reasons}") from error
    if (folder.parent.name, folder.name) != (manifest.name, str(manifest.version)):
        raise BundleError(
            f"{path}: names {manifest.name}/{manifest.version}, "
            f"but lies in {folder.parent.name}/{folder.name}"
        )
    _verify_files(folder, manifest.files)
    return manifest


def read_file(folder: Path, name: str, bundle: Manifest) -> bytes:
    """A file of a bundle, proven to be the one that the manifest lists, whatever was written since it was verified.

    Raises:
        BundleError: it is another, or none; or the manifest lists no such file.
    """
    path = folder / name
    if name not in bundle.files:
        raise BundleError(f"{path}: missing; the manifest does not list it")
    expected = bundle.files[name]
    try:
        data = read_plain(path, expected.bytes)
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: {error}") from error
    if (digest := _sha256(data)) != expected.sha256:
        raise BundleError(f"{path}: sha256 is {digest}; the manifest says {expected.sha256}")
    return data


def read_plain(path: Path, most_bytes: int) -> bytes:
    """The content of a file that is one: a link could lead anywhere, and a pipe would be waited for.

    Raises:
        ValueError: it is another thing, or longer.
        OSError: it cannot be read.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("must be a plain file")
    if found.st_size > most_bytes:
        raise ValueError(f"has {found.st_size:,} bytes; allowed: {most_bytes:,}")
    with path.open("rb") as stream:
        return stream.read(most_bytes + 1)


def write_bundle(root: Path, fields: Mapping[str, object], files: Mapping[str, bytes]) -> Path:
    """Write `root/<name>/<version>/` so that it appears whole or not at all.

    Args:
        root: the models folder.
        fields: the manifest but for `schema_version` and `files`, which are filled in here.
        files: content by file name.

    Returns:
        The folder written.

    Raises:
        FileExistsError: the version is there already; a published version never changes.
        pydantic.ValidationError: the fields do not make a manifest.
    """
    listed = {name: File(sha256=_sha256(data), bytes=len(data)) for name, data in sorted(files.items())}
    manifest = Manifest.model_validate({**fields, "schema_version": SCHEMA_VERSION, "files": listed})
    folder = root / manifest.name / str(manifest.version)
    if folder.exists():
        raise FileExistsError(f"{folder} exists; a published version never changes: export the next one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # A dot-folder: readers take only folders named by a number.
    temporary = Path(tempfile.mkdtemp(prefix=f".{manifest.version}-", dir=folder.parent))
    try:
        for name, data in [*files.items(), (MANIFEST, (manifest.model_dump_json(indent=2) + "\n").encode())]:
            with (temporary / name).open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def versions(model_folder: Path) -> list[int]:
    """Version numbers found under `models/<name>/`, ascending; other entries are ignored."""
    return sorted(int(p.name) for p in model_folder.iterdir() if re.fullmatch(r"[1-9]\d*", p.name))


def _verify_files(folder: Path, files: Mapping[str, File]) -> None:
    found = {p.name for p in folder.iterdir()} - {MANIFEST}
    if missing := sorted(set(files) - found):
        raise BundleError(f"{folder / missing[0]}: listed in the manifest, but missing")
    if surplus := sorted(found - set(files)):
        raise BundleError(f"{folder / surplus[0]}: not listed in the manifest")
    for name, expected in files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{path}: must be a plain file")
        if (size := path.stat().st_size) != expected.bytes:
            raise BundleError(f"{path}: has {size:,} bytes; the manifest says {expected.bytes:,}")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != expected.sha256:
            raise BundleError(f"{path}: sha256 is {digest}; the manifest says {expected.sha256}")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _show(tensors: tuple[Tensor, ...]) -> str:
    return "(" + ", ".join(f"{t.name}: {t.dtype}{list(t.shape)}" for t in tensors) + ")"

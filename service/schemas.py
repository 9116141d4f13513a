"""Requests and answers of the HTTP API: fields, bounds, units, examples.

The same models check what comes in and describe it in `/docs.json`. Types are strict ("12" is not a number),
unknown fields are refused. Bounds that are settings (the most images) are checked where they are used.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PlainValidator, Tag, WithJsonSchema

from service.codecs import IMAGE_TYPES
from service.latents import SEED_LIMIT, Easing, Prior
from service.uploads import ImageArray, ImageFiles, Images, LatentArray, LatentRows, Latents
from service.views import View

JSON, MULTIPART, NPY, ZIP = (
    "application/json",
    "multipart/form-data",
    "application/x-npy",
    "application/zip",
)

# Options that are not a number (or numbers, with commas) where they are written in a query.
TEXT_OPTIONS = ("model", "path", "easing", "prior", "view", "discriminator")
LIST_OPTIONS = ("seeds", "keys")
FLAG_OPTIONS = ("closed",)


def _one_or_many(value: object) -> str:
    return "(many)" if isinstance(value, list) else "(one)"


def _images(value: object) -> Images:
    if isinstance(value, ImageFiles | ImageArray):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError("must be a list of one or more base64 strings")
    for i, item in enumerate(value):
        if not isinstance(item, str):
            raise ValueError(f"must be a list of base64 strings, but [{i}] is {type(item).__name__}")
    return ImageFiles([(f"body.images[{i}]", item) for i, item in enumerate(value)])


def _latents(value: object) -> Latents:
    if isinstance(value, LatentArray):
        return value
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise ValueError("must be a list of latents, each a list of numbers")
    for i, row in enumerate(value):
        for j, item in enumerate(row):
            if type(item) not in (int, float):
                raise ValueError(f"must hold numbers, but [{i}][{j}] is {type(item).__name__}")
    return LatentRows(value)


Seed = Annotated[int, Field(ge=0, lt=SEED_LIMIT)]
Label = Annotated[int, Field(ge=0)]
_Vector = Annotated[list[float], Field(min_length=1)]
_Labels = Annotated[list[Label], Field(min_length=1)]
# The tags tell pydantic which of the two a value was meant to be, so that an error is about that one alone.
Key = Annotated[
    Annotated[Seed, Tag("(one)")] | Annotated[_Vector, Tag("(many)")], Discriminator(_one_or_many)
]
LabelOrLabels = Annotated[
    Annotated[Label, Tag("(one)")] | Annotated[_Labels, Tag("(many)")], Discriminator(_one_or_many)
]
ImagesField = Annotated[
    Images,
    PlainValidator(_images),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string", "format": "byte"},
            "description": "PNG, JPEG or WebP files of the model's size, in base64. URLs are never fetched",
        }
    ),
]
LatentsField = Annotated[
    Latents,
    PlainValidator(_latents),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 1,
            "items": {"type": "array", "items": {"type": "number"}},
            "description": "Latent vectors of the model's `latent.dim` numbers each",
        }
    ),
]


class Options(BaseModel):
    """What every operation takes.

    `accepts`: the request bodies that carry it, the usual one first. `payload`: the field that a body of
    images or an npy body is; it has no place in the query.
    """

    # Built when it is first used: the process that starts the workers uses none, and each ms of import counts twice.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, defer_build=True)
    accepts: ClassVar[tuple[str, ...]] = (JSON,)
    payload: ClassVar[str | None] = None

    model: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="Name of a model; `GET /models` lists them",
        examples=["mnist-gan", "mnist-vae", "mnist-ae"],
    )
    version: int | None = Field(
        default=None,
        ge=1,
        lt=2**31,
        description="Version of the model; by default its latest, or one by the weights between its versions",
    )


class Labelled(Options):
    label: LabelOrLabels | None = Field(
        default=None,
        description="Class of all images, or a list with one for each; for conditional models only. Of seeds it "
        "may be left out: each has a class too, drawn as its latent is",
    )


PriorField = Annotated[
    Prior | None,
    Field(
        description="Of the latents of seeds: fitted to the codes of the training images, with the model or "
        "afterwards, or N(0, I); by default fitted, where the model has one"
    ),
]


class SampleRequest(Labelled):
    """Images of seeds; or of `latents`, which go to the decoder as they are, not through a fitted prior."""

    accepts: ClassVar = (JSON, NPY)
    payload: ClassVar = "latents"

    n: int | None = Field(
        default=None,
        ge=1,
        lt=2**31,
        description="How many images; by default 1, or the number of seeds",
        examples=[4],
    )
    seed: Seed | None = Field(
        default=None,
        description="Image i gets the seed `seed` + i; without it and `seeds`, one is drawn and told",
        examples=[7],
    )
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = Field(
        default=None, description="The seed of each image"
    )
    latents: LatentsField | None = Field(
        default=None,
        description="A latent vector for each image, in place of seeds; exclude n, seed, seeds and prior",
    )
    truncation: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Scales latents, given or drawn, towards the mean of N(0, I), which is 0: "
        "below 1, images are more typical and less varied",
    )
    prior: PriorField = None
    keep: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Discriminator rejection sampling: an image is kept with probability min(1, `keep` x its density "
        "ratio of `/score`), and the images are the first n that are kept, of seeds in a row; about this fraction is "
        "kept, and smaller is nearer to the data",
    )
    discriminator: Annotated[str, Field(min_length=1, max_length=80)] | None = Field(
        default=None,
        description="With `keep`: the model, NAME or NAME/VERSION, whose discriminator chooses; by default `model`",
    )


class _ImagesRequest(Options):
    accepts: ClassVar = (JSON, MULTIPART, *IMAGE_TYPES, NPY)
    payload: ClassVar = "images"

    images: ImagesField


class ReconstructRequest(_ImagesRequest, Labelled):
    samples: int = Field(
        default=8,
        ge=0,
        le=64,
        description="Draws of z for `elbo_nats`, in JSON and zip answers; 0 leaves it out",
    )
    view: View = Field(
        default="images",
        description="What the pictures show: `images`, the reconstructions; `error`, in grey, the absolute "
        "difference in levels of 0 to 255, the mean over channels; `comparison`, original, reconstruction and error, "
        "one above the other",
    )


class EncodeRequest(_ImagesRequest):
    pass


class ScoreRequest(_ImagesRequest, Labelled):
    k: int | None = Field(
        default=None,
        ge=1,
        lt=2**31,
        description="Draws of z for `iw_nats`, the importance weighted bound; for models scored by their ELBO",
        examples=[64],
    )


class DecodeRequest(Labelled):
    accepts: ClassVar = (JSON, NPY)
    payload: ClassVar = "latents"

    latents: LatentsField


class InterpolateRequest(Labelled):
    """One of: `from` and `to`; two or more `keys`; two or more images, whose codes are the keys.

    Keys are joined in order. Frame i is i (k - 1) / (steps - 1) legs from the first of k keys; on a closed path
    i k / steps, so that its last frame runs on to its first. The whole part of that is the leg. The rest is t, in
    [0, 1): `easing` of it is how much is done of the arc (slerp) or line (lerp) from the leg's key to the next.
    """

    accepts: ClassVar = (JSON, MULTIPART, NPY)
    payload: ClassVar = "images"

    start: Key | None = Field(
        default=None, alias="from", description="A seed, or a latent vector", examples=[7]
    )
    end: Key | None = Field(default=None, alias="to", description="A seed, or a latent vector", examples=[8])
    keys: Annotated[list[Key], Field(min_length=2)] | None = Field(
        default=None,
        description="Two or more seeds or latent vectors, in place of `from` and `to`; in a query, seeds alone",
        examples=[[7, 8, 9]],
    )
    images: ImagesField | None = Field(
        default=None, description="Two or more images, for models that encode, in place of keys"
    )
    steps: int = Field(default=8, ge=2, le=256, description="How many frames, both ends counted")
    closed: bool = Field(
        default=False,
        description="Go on from the last key to the first; the first frame is not repeated at the end",
    )
    easing: Easing = Field(
        default="linear",
        description="How time passes between two keys: t, or 3 t^2 - 2 t^3, which is slow at both",
    )
    fps: float = Field(
        default=12, ge=1, le=50, description="Frames a second, of answers in image/webp and image/gif"
    )
    path: Literal["slerp", "lerp"] = Field(
        default="slerp", description="Along the great arc between latents, or the straight line"
    )
    prior: PriorField = None


class _Described(BaseModel):
    model_config = ConfigDict(defer_build=True)


class _Answer(_Described):
    model: str
    version: int


class ImageItem(_Described):
    png: str = Field(description="The image, a PNG in base64", json_schema_extra={"format": "byte"})
    seed: int | None = Field(default=None, description="Where the image was drawn from a seed")
    label: int | None = Field(
        default=None, description="Its class, where it was drawn by a conditional model"
    )
    latent: list[float] | None = Field(default=None, description="/reconstruct: the mean of the image's code")
    mse: float | None = Field(default=None, description="/reconstruct: mean squared error, pixels in [0, 1]")
    psnr: float | None = Field(default=None, description="/reconstruct: dB; null where mse is 0")
    elbo_nats: float | None = Field(default=None, description="/reconstruct: lower bound of log p(x), nats")
    anomaly_percentile: float | None = Field(
        default=None, description="/reconstruct: 0 to 100, among the images that the model was calibrated on"
    )


class ImagesAnswer(_Answer):
    images: list[ImageItem]
    acceptance_rate: float | None = Field(
        default=None, description="With `keep`: the fraction of the samples looked at that were kept"
    )
    proposed: int | None = Field(
        default=None,
        description="With `keep`: the samples looked at; those kept next are had from `seed` + this",
    )
    discriminator: str | None = Field(default=None, description="With `keep`: name/version of whose chose")
    seeds: list[int] | None = Field(
        default=None, description="/interpolate: the keys that are seeds, in order"
    )


class LatentItem(_Described):
    mean: list[float]
    logvar: list[float] | None = Field(
        default=None,
        description="Log of the variance; absent where the encoder gives none (a plain AE)",
    )


class LatentsAnswer(_Answer):
    latents: list[LatentItem]


class DiscriminatorScoreItem(_Described):
    logit: float
    probability: float = Field(description="Of being real, calibrated on held-out images")
    density_ratio: float = Field(description="p_data / p_model = probability / (1 - probability)")


class ElboScoreItem(_Described):
    elbo_nats: float = Field(description="Lower bound of log p(x), nats")
    bits_per_dim: float = Field(description="-`elbo_nats` as bits to code one value of a pixel")
    anomaly_percentile: float | None = Field(
        default=None, description="0 to 100; larger is stranger; absent where the model has no calibration"
    )

    iw_nats: float | None = Field(
        default=None,
        description="Log of the mean of `k` importance weights p(x, z) / q(z|x), nats (Burda et al. 2016, eq. 8): a "
        "bound that rises with k towards log p(x); there where `k` was given",
    )


class ScoresAnswer(_Answer):
    k: int | None = Field(default=None, description="Draws of z behind `iw_nats`")
    scores: list[DiscriminatorScoreItem] | list[ElboScoreItem]


class FieldError(_Described):
    location: str = Field(examples=["body.n", "query.model", "multipart.images[2]", "header.Accept"])
    message: str


class Problem(_Described):
    """RFC 9457."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str
    instance: str | None = Field(default=None, description="The path that was asked for")
    errors: list[FieldError] | None = None


class ModelInfo(_Described):
    """One version of a model, from its manifest."""

    name: str
    version: int
    latest: bool
    traffic: float = Field(
        description="Fraction of the requests that name no version which it answers, 0 to 1"
    )
    family: str
    description: str
    operations: list[str] = Field(description="The calls of this API that it answers")
    image: dict[str, Any] = Field(description="height, width, channels")
    latent: dict[str, Any] | None = Field(description="dim, prior")
    class_names: list[str] | None
    graphs: dict[str, Any] = Field(description="Names, dtypes and shapes of the tensors of its ONNX graphs")
    sha256: str = Field(description="Digest of the manifest, and so of every file of the bundle")
    dataset: dict[str, Any]
    metrics: dict[str, float]


class ModelsAnswer(_Described):
    models: list[ModelInfo]
    refused: dict[str, str] = Field(
        description="Bundles (name/version) and weights between versions (name/traffic.json) that are not in use as "
        "they lie in the models folder, and why"
    )


class WorkerReload(_Described):
    """What a worker found when it last looked at the models folder; versions are name/version."""

    pid: int
    done: bool = Field(description="Whether it has looked since this call; if not, the rest is of before")
    loaded: list[str]
    kept: list[str]
    dropped: list[str]
    refused: dict[str, str] = Field(description="As in `GET /models`")
    fault: str | None = Field(description="Why nothing could be changed")


class ReloadAnswer(_Described):
    complete: bool = Field(description="Whether every worker has looked; those that have not will")
    workers: list[WorkerReload]

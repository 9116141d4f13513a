"""Options -> what operations take: seeds, labels, keys of a path.

Errors name the field alone ("seeds"); the endpoint knows whether it was in the body or in the query.
"""

import re
import secrets
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from service import offers, operations, uploads
from service.errors import BadRequest
from service.latents import SEED_LIMIT, Prior, truncated
from service.registry import Model
from service.schemas import InterpolateRequest, SampleRequest
from service.settings import Settings
from service.steps import Steps, aside


def seeds(options: SampleRequest, limit: int) -> Sequence[int]:
    """One seed for each image: `seeds`, or `seed` + i, or from a random start.

    Raises:
        BadRequest: more than `limit` images, or options that contradict each other.
    """
    if options.seeds is not None:
        if options.seed is not None:
            raise BadRequest.at("seeds", "excludes `seed`; give one of the two")
        _limit("seeds", len(options.seeds), limit)
        if options.n not in (None, len(options.seeds)):
            raise BadRequest.at("n", f"is {options.n}, but there are {len(options.seeds)} seeds")
        return options.seeds
    n = options.n or 1
    _limit("n", n, limit)
    start = secrets.randbelow(SEED_LIMIT - n + 1) if options.seed is None else options.seed
    if start + n > SEED_LIMIT:
        raise BadRequest.at("seed", f"plus n must not pass 2^53 = {SEED_LIMIT}, got {start} + {n}")
    return range(start, start + n)


def images(upload: uploads.Images, model: Model, settings: Settings) -> Steps[NDArray[np.uint8]]:
    """What was sent, (n, H, W, C); raises BadRequest or TooLarge, naming each image at fault."""
    return (yield from aside(upload.takes_long, upload.decode, model.manifest.image, settings))


def latents(model: Model, options: SampleRequest, settings: Settings) -> NDArray[np.float32] | None:
    """The latents that were given, (n, dim), truncated; None where it is seeds that images are drawn from.

    Raises:
        BadRequest: options of seeds beside them, or latents that are not the model's.
        NotFound: the model has no prior over its latents, or does not generate.
    """
    if options.latents is None:
        return None
    offers.require(model, "sample")
    for name in ("n", "seed", "seeds", "prior", "keep", "discriminator"):
        if getattr(options, name) is not None:
            raise BadRequest.at(name, "must be left out where `latents` are given: it is for seeds")
    return truncated(options.latents.decode(offers.latent_dim(model), settings), options.truncation)


def proposals(options: SampleRequest, settings: Settings) -> range:
    """The seeds of the samples that `keep` may look at: in a row, from `seed` or a random start.

    Raises:
        BadRequest: `seeds` are given, or more than `max_images` images asked for.
    """
    if options.seeds is not None:
        raise BadRequest.at("seeds", "excludes `keep`, which chooses among the seeds from `seed` on")
    _limit("n", options.n or 1, settings.max_images)
    most = settings.max_proposals
    start = secrets.randbelow(SEED_LIMIT - most + 1) if options.seed is None else options.seed
    return range(start, min(start + most, SEED_LIMIT))


def name_and_version(field: str, text: str) -> tuple[str, int | None]:
    """ "mnist-gan/2" -> ("mnist-gan", 2), "mnist-gan" -> ("mnist-gan", None); raises BadRequest for another form."""
    name, slash, version = text.partition("/")
    if slash and not re.fullmatch(r"[1-9][0-9]{0,8}", version):
        raise BadRequest.at(field, f"must be NAME or NAME/VERSION, got {text!r}")
    return name, int(version) if slash else None


def labels(label: int | Sequence[int] | None, n: int) -> Sequence[int] | None:
    """One label for each of n images. Whether the model knows them is the operation's to check."""
    return [label] * n if isinstance(label, int) else label


def importance_samples(k: int | None, n: int, limit: int) -> int | None:
    """`k` for n images; raises BadRequest where the two make more than `limit` draws."""
    if k is not None and k * n > limit:
        raise BadRequest.at("k", f"times images must not pass {limit:,}, got {k:,} x {n:,}")
    return k


def one_label(label: int | Sequence[int] | None) -> int | None:
    """The label of images whose number is not known yet; raises BadRequest for a list."""
    if label is None or isinstance(label, int):
        return label
    raise BadRequest.at("label", "must be one class with `keep`, not a list")


def keys(
    model: Model, options: InterpolateRequest, settings: Settings
) -> Steps[tuple[NDArray[np.float32], list[int]]]:
    """Keys of a path, (k, dim), and the seeds among them.

    Raises:
        BadRequest: none or several of ends, keys and images, too many of them, one image alone, or a prior that the
            model has not.
        NotFound: the model cannot make latents of what was given.
    """
    _limit("steps", options.steps, settings.max_images)
    ends = {"from": options.start, "to": options.end}
    some_end = any(end is not None for end in ends.values())
    if options.images is not None:
        if some_end or options.keys is not None:
            raise BadRequest.at("images", "exclude `from`, `to` and `keys`; give one of the three")
        pictures = yield from images(options.images, model, settings)
        if len(pictures) < 2:
            raise BadRequest.at("images", f"must be two or more, got {len(pictures)}")
        encoding = yield from operations.encode(model, pictures)
        return encoding.mean, []
    if options.keys is not None:
        if some_end:
            raise BadRequest.at("keys", "exclude `from` and `to`; give one of the two")
        _limit("keys", len(options.keys), settings.max_images)
        return (
            yield from _rows(
                model, {f"keys[{i}]": key for i, key in enumerate(options.keys)}, options.prior, settings
            )
        )
    missing = [name for name, end in ends.items() if end is None]
    if missing:
        raise BadRequest.of((name, "is required, unless `keys` or `images` are given") for name in missing)
    given = {name: end for name, end in ends.items() if end is not None}
    return (yield from _rows(model, given, options.prior, settings))


def _rows(
    model: Model, given: Mapping[str, int | list[float]], prior: Prior | None, settings: Settings
) -> Steps[tuple[NDArray[np.float32], list[int]]]:
    """Latents (k, dim) of seeds and latents, by the names that they are given by; and the seeds."""
    used = [key for key in given.values() if isinstance(key, int)]
    drawn = iter((yield from operations.draw(model, used, prior=prior)) if used else ())
    dim = offers.latent_dim(model)
    rows = [
        next(drawn) if isinstance(key, int) else uploads.latent(name, key, dim, settings.max_latent)
        for name, key in given.items()
    ]
    return np.stack(rows), used


def _limit(name: str, count: int, limit: int) -> None:
    if count > limit:
        raise BadRequest.at(name, f"may ask for {limit:,} images at most, got {count:,}")

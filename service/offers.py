"""Which operations a model can do, by the graphs, the prior and the likelihood that it has."""

from collections.abc import Callable

from service.errors import NotFound
from service.registry import Model


def offered(model: Model) -> tuple[str, ...]:
    """The operations that this model can do."""
    return tuple(name for name, can in _OFFERS.items() if can(model))


def require(model: Model, operation: str) -> None:
    """Raises NotFound where the model cannot do it; the detail lists what it can."""
    if not _OFFERS[operation](model):
        reason = ""
        if operation == "sample" and _can_generate(model):
            reason = ": it has no prior over its latents, so seeds mean nothing to it"
        raise NotFound(f"{model} cannot {operation}{reason}; it offers {', '.join(offered(model))}")


def latent_dim(model: Model) -> int:
    """Length of the model's latents; raises NotFound where it has none."""
    if model.manifest.latent is None:
        raise NotFound(f"{model} has no latents; it offers {', '.join(offered(model))}")
    return model.manifest.latent.dim


def has_elbo(model: Model) -> bool:
    """Whether it is a VAE: q(z|x) with its variance, a prior whose density is known, and p(x|z)."""
    bundle = model.manifest
    return (
        _can_generate(model)
        and bundle.likelihood is not None
        and bundle.latent is not None
        and bundle.latent.prior is not None
        and _can_encode(model)
        and len(bundle.operations["encode"].outputs) == 2
    )


def _can_generate(model: Model) -> bool:
    return "generate" in model.graphs


def _can_encode(model: Model) -> bool:
    return "encode" in model.graphs


def _has_prior(model: Model) -> bool:
    latent = model.manifest.latent
    return "prior" in model.graphs or (latent is not None and latent.prior is not None)


_OFFERS: dict[str, Callable[[Model], bool]] = {
    "sample": lambda model: _can_generate(model) and _has_prior(model),
    "reconstruct": lambda model: _can_generate(model) and _can_encode(model),
    "encode": _can_encode,
    "decode": _can_generate,
    "interpolate": _can_generate,
    "score": lambda model: "discriminate" in model.graphs or has_elbo(model),
}

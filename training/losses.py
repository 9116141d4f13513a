"""Losses and penalties of the families: pure functions of tensors that return a scalar (mean over the batch).

GAN losses take discriminator logits (N,). `<name>_discriminator(real, fake)` is minimised by the
discriminator; `<name>_generator(real, fake)` by the generator (all but the relativistic ignore `real`).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

Loss = Callable[[Tensor, Tensor], Tensor]


def minimax_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(x) - log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1). 2 log 2 where D = 1/2."""
    return softplus(-real).mean() + softplus(fake).mean()


def minimax_generator(real: Tensor, fake: Tensor) -> Tensor:  # noqa: ARG001 - one signature for all losses
    """log(1 - D(G(z))): its gradient vanishes where D is sure (Goodfellow et al. 2014, section 3)."""
    return -softplus(fake).mean()


nonsaturating_discriminator = minimax_discriminator


def nonsaturating_generator(real: Tensor, fake: Tensor) -> Tensor:  # noqa: ARG001
    """-log D(G(z)) (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake).mean()


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (Lim & Ye 2017; Miyato et al. 2018, eq. 16)."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def hinge_generator(real: Tensor, fake: Tensor) -> Tensor:  # noqa: ARG001
    """-D(G(z)) (Miyato et al. 2018, eq. 17)."""
    return -fake.mean()


def wasserstein_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """D(G(z)) - D(x), for a critic kept 1-Lipschitz by a penalty (Arjovsky et al. 2017, eq. 2)."""
    return fake.mean() - real.mean()


wasserstein_generator = hinge_generator


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """softplus(-(D(x) - D(G(z)))), pair by pair (Jolicoeur-Martineau 2019; Huang et al. 2024, R3GAN)."""
    return softplus(fake - real).mean()


def relativistic_generator(real: Tensor, fake: Tensor) -> Tensor:
    """softplus(-(D(G(z)) - D(x))), pair by pair: the discriminator's loss with the roles exchanged."""
    return softplus(real - fake).mean()


GAN_LOSSES: dict[str, tuple[Loss, Loss]] = {
    "minimax": (minimax_discriminator, minimax_generator),
    "nonsaturating": (nonsaturating_discriminator, nonsaturating_generator),
    "hinge": (hinge_discriminator, hinge_generator),
    "wasserstein": (wasserstein_discriminator, wasserstein_generator),
    "relativistic": (relativistic_discriminator, relativistic_generator),
}


def zero_centred_penalty(critic: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """||grad_x D(x)||^2, mean over the batch: R1 on real images, R2 on generated ones.

    The paper's penalty is gamma / 2 times this (Mescheder et al. 2018, eq. 9 and 10). Where `critic` couples the
    images of a batch, the gradient is that of the sum of the batch's logits.
    """
    points = images.detach().requires_grad_()
    return squared_slopes(critic(points), points).mean()


def squared_slopes(logits: Tensor, images: Tensor) -> Tensor:
    """||grad_x D(x)||^2 of each image (N,): of the sum of `logits`, which were made of `images`."""
    return _gradient(logits, images).square().flatten(1).sum(1)


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor) -> Tensor:
    """(||grad_x D(x)|| - 1)^2 at points drawn uniformly between pairs of a real and a generated image.

    The paper's penalty is lambda times this (Gulrajani et al. 2017, eq. 3).
    """
    t = torch.rand(len(real), 1, 1, 1, device=real.device)
    points = torch.lerp(real, fake, t).requires_grad_()
    norm: Tensor = torch.linalg.vector_norm(_gradient(critic(points), points).flatten(1), dim=1)
    return (norm - 1).square().mean()


def _gradient(logits: Tensor, images: Tensor) -> Tensor:
    gradients: tuple[Tensor, ...] = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradients[0]


def free_bits(kl_per_dimension: Tensor, floor_nats: float) -> Tensor:
    """KL with at least `floor_nats` counted for each dimension: (N, D) -> scalar, nats an image.

    The floor is on the batch mean of each dimension (Kingma et al. 2016, eq. 15, groups of one dimension).
    """
    return kl_per_dimension.mean(0).clamp(min=floor_nats).sum()


def importance_weighted_bound(log_likelihoods: Tensor, log_ratios: Tensor, beta: float = 1.0) -> Tensor:
    """log of the mean over K draws of p(x|z) (p(z) / q(z|x))^beta, in nats an image (Burda et al. 2016, eq. 8).

    Args:
        log_likelihoods: log p(x|z), (K, N).
        log_ratios: log p(z) - log q(z|x), (K, N).
    """
    bounds = torch.logsumexp(log_likelihoods + beta * log_ratios, 0) - math.log(len(log_ratios))
    return bounds.mean()

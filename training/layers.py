"""Layers that torch does not have: those that let a discriminator see a batch, not one image."""

import torch
from torch import Tensor, nn


class MinibatchDiscrimination(nn.Module):
    """How close each sample's features are to those of the other samples of the batch.

    With f(x_i) in R^A and a learned T in R^(A x B x C), M_i = f(x_i) T in R^(B x C), and

        c_b(x_i, x_j) = exp(-||M_ib - M_jb||_1),   o(x_i)_b = sum over j = 1..n of c_b(x_i, x_j).

    The sum runs over the whole batch, so the term j = i adds exactly 1, as in the paper. A collapsed batch
    gives o = n, far-apart samples give o = 1. (Salimans et al. 2016, "Improved Techniques for Training
    GANs", section 3.2.)
    """

    def __init__(self, features: int, kernels: int, kernel_dim: int) -> None:
        super().__init__()
        self.kernels, self.kernel_dim = kernels, kernel_dim
        self.T = nn.Linear(features, kernels * kernel_dim, bias=False)

    @property
    def out_features(self) -> int:
        return self.kernels

    def project(self, f: Tensor) -> Tensor:
        """(N, A) -> M, (N, B, C)."""
        out: Tensor = self.T(f).reshape(-1, self.kernels, self.kernel_dim)
        return out

    def forward(self, f: Tensor) -> Tensor:
        """(N, A) -> o, (N, B), each in [1, N]."""
        M = self.project(f)
        return closeness(M, M)

    def reference(self, f: Tensor) -> Tensor:
        """What of a fixed batch (R, A) `against` needs."""
        return self.project(f)

    def against(self, f: Tensor, reference: Tensor) -> Tensor:
        """`forward` for the batch {image, reference batch}, for each image apart: (N, A) -> (N, B)."""
        return 1 + closeness(self.project(f), reference)


def closeness(M: Tensor, others: Tensor) -> Tensor:
    """sum over j of exp(-||M_ib - others_jb||_1): (N, B, C), (R, B, C) -> (N, B).

    The axis summed is the last, so that onnxruntime sums each row alike whatever N.
    """
    distances = (M[:, :, None] - others.transpose(0, 1)).abs().sum(-1)  # (N, B, R)
    return torch.exp(-distances).sum(-1)


class MinibatchStddev(nn.Module):
    """The standard deviation over the batch, averaged over features: one number, the same for every sample.

    (Karras et al. 2018, "Progressive Growing of GANs", section 3; there on a feature map, here on features.)
    """

    out_features = 1

    def forward(self, f: Tensor) -> Tensor:
        """(N, A) -> (N, 1)."""
        return _mean_stddev(f.var(0, correction=0)[None]).expand(len(f), 1)

    def reference(self, f: Tensor) -> Tensor:
        """What of a fixed batch (R, A) `against` needs, (3, A): its mean, its sum of squared deviations, and R."""
        mean = f.mean(0)
        return torch.stack([mean, (f - mean).square().sum(0), torch.full_like(mean, len(f))])

    def against(self, f: Tensor, reference: Tensor) -> Tensor:
        """`forward` for the batch {image, reference batch}, for each image apart: (N, A) -> (N, 1)."""
        mean, squares, count = reference
        # One more value in a running variance (Welford 1962).
        return _mean_stddev((squares + (f - mean).square() * count / (count + 1)) / (count + 1))


def _mean_stddev(variance: Tensor) -> Tensor:
    # The 1e-8 keeps the root's gradient finite for a feature that does not vary.
    return (variance + 1e-8).sqrt().mean(-1, keepdim=True)

"""Grey pixels as coins: density models of digits are trained on, and compared by, binary images."""

import torch
from torch import Tensor


def binarise(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Each pixel 1 with its grey value as the probability, else 0.

    Drawn anew whenever an image is trained on, it is the dynamic binarisation of the importance weighted autoencoders
    (Burda et al. 2016, section 5; after Salakhutdinov & Murray 2008). One fixed draw of each image is other data.

    Args:
        images: (N, C, H, W) in [0, 1].
        generator: of the draws, on the device of `images`; None: torch's own.
    """
    return torch.bernoulli(images, generator=generator)

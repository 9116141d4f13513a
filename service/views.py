"""Pictures of reconstructions: themselves, or how far they are from their originals."""

from typing import Literal

import numpy as np

from service.tensors import Images

View = Literal["images", "error", "comparison"]


def view(originals: Images, reconstructions: Images, kind: View) -> Images:
    """Show reconstructions, (N, H, W, C) as their originals, on one scale for all images, so that they compare.

    Returns:
        "images": the reconstructions.
        "error": (N, H, W, 1), the absolute difference in levels of 0 to 255, the mean over channels, rounded.
        "comparison": (N, 3 H, W, C), original, reconstruction and error from top to bottom.
    """
    if kind == "images":
        return reconstructions
    difference = np.abs(originals.astype(np.int16) - reconstructions)
    error: Images = np.rint(difference.mean(axis=3, keepdims=True)).astype(np.uint8)
    if kind == "error":
        return error
    return np.concatenate([originals, reconstructions, np.broadcast_to(error, originals.shape)], axis=1)

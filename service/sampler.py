"""Seeds to images as one chain of rows: latents and classes, the fitted prior where there is one, generator, pixels.

In a chain the requests that share a run share its every link: for one image, drawing its latent and rounding its pixels
alone took a quarter of the time of the generator.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service import latents, tensors
from service.runtime import Graph
from service.steps import Arrays

SEEDED = -1


class Sampler:
    """Inputs: `seed` int64 (n,) and `truncation` float64 (n,); output: images uint8 (n, H, W, C).

    A conditional generator has the `label` int64 (n,) beside them, SEEDED where the class is drawn of the seed, and as
    a second output, the class.

    Args:
        classes: how many a conditional generator has; 0: it is not conditional.
    """

    def __init__(self, name: str, generate: Graph, prior: Graph | None, dim: int, classes: int) -> None:
        self._name = name
        self._generate, self._prior, self._dim, self._classes = generate, prior, dim, classes
        self.run_images = generate.run_images if prior is None else min(generate.run_images, prior.run_images)
        [image] = generate.operation.outputs
        channels, height, width = (int(size) for size in image.shape[1:])
        self._shape = (height, width, channels)

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> int:
        return len(inputs["seed"])

    def compute(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Raises FloatingPointError where a graph overflows."""
        seeds = inputs["seed"].tolist()
        z = latents.from_checked_seeds(seeds, self._dim, inputs["truncation"][:, None])
        if self._prior is not None:
            (z,) = self._prior.compute({"eps": z})
        if not self._classes:
            (x,) = self._generate.compute({"z": z})
            return (tensors.finite_images(self._name, x),)
        label = inputs["label"]
        if (is_seeded := label == SEEDED).any():
            label = np.where(is_seeded, latents.classes(seeds, self._classes), label)
        (x,) = self._generate.compute({"z": z, "label": label})
        return tensors.finite_images(self._name, x), label

    def empty(self, n: int) -> Arrays:
        images = np.empty((n, *self._shape), np.uint8)
        return (images, np.empty(n, np.int64)) if self._classes else (images,)

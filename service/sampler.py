"""Seeds to images as one chain of rows: latents, the fitted prior where there is one, the generator, pixels.

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


class Sampler:
    """Inputs: `seed` int64 (n,), `truncation` float64 (n,), and a conditional generator's `label`; output: images."""

    def __init__(self, name: str, generate: Graph, prior: Graph | None, dim: int) -> None:
        self._name = name
        self._generate, self._prior, self._dim = generate, prior, dim
        self.run_images = generate.run_images if prior is None else min(generate.run_images, prior.run_images)
        [image] = generate.operation.outputs
        channels, height, width = (int(size) for size in image.shape[1:])
        self._shape = (height, width, channels)

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> int:
        return len(inputs["seed"])

    def compute(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Raises FloatingPointError where a graph overflows."""
        z = latents.from_checked_seeds(inputs["seed"].tolist(), self._dim, inputs["truncation"][:, None])
        if self._prior is not None:
            (z,) = self._prior.compute({"eps": z})
        label = {"label": inputs["label"]} if "label" in inputs else {}
        (x,) = self._generate.compute({"z": z, **label})
        return (tensors.finite_images(self._name, x),)

    def empty(self, n: int) -> Arrays:
        return (np.empty((n, *self._shape), np.uint8),)

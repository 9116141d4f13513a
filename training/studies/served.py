"""Published models as they are served: the ONNX graphs of their bundles, and the calibration of their score."""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from training.metrics.monotone_scaling import Knots
from training.networks import classes_in_turn
from training.onnx_graph import open_session
from training.trained import MODELS

if TYPE_CHECKING:
    from service.manifest import OperationName

BATCH = 250
Array = npt.NDArray[np.float32]


class Served:
    """The model `name` ("mnist-gan/2"), verified against its manifest."""

    def __init__(self, name: str) -> None:
        # Only here: the machine that trains need not have the bundle contract's libraries.
        from service.manifest import read_bundle  # noqa: PLC0415

        folder = MODELS / name
        self.manifest = read_bundle(folder)
        self._sessions = {
            operation: open_session((folder / graph.graph).read_bytes())
            for operation, graph in self.manifest.operations.items()
        }

    def run(self, operation: "OperationName", x: Array) -> Array:
        """The first output of a graph of one input and, where it takes a class, of the classes in turn; in batches."""
        session = self._sessions[operation]
        first, *label = (tensor.name for tensor in self.manifest.operations[operation].inputs)
        classes = len(self.manifest.class_names or ())
        inputs = {first: x} | {name: classes_in_turn(len(x), classes).numpy() for name in label}
        parts = [slice(start, start + BATCH) for start in range(0, len(x), BATCH)]
        runs = [session.run(None, {name: rows[part] for name, rows in inputs.items()}) for part in parts]
        return np.concatenate([outputs[0] for outputs in runs])

    def sample(self, n: int, generator: torch.Generator, prior: str) -> npt.NDArray[np.uint8]:
        """uint8 (n, C, H, W). `prior`: "fitted" or "normal"."""
        _, dim = self.manifest.operations["generate"].inputs[0].shape
        z: Array = torch.randn(n, int(dim), generator=generator).numpy()
        if prior == "fitted":
            z = self.run("prior", z)
        images: npt.NDArray[np.uint8] = np.rint(self.run("generate", z).clip(0, 1) * 255).astype(np.uint8)
        return images

    def logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """The discriminator's (N,), of uint8 (N, C, H, W)."""
        return self.run("discriminate", images.astype(np.float32) / np.float32(255)).astype(np.float64)

    def calibration(self) -> Knots:
        """Logits -> log odds of "real"; raises ValueError where the score is not calibrated."""
        if self.manifest.score is None:
            raise ValueError(f"{self.manifest.name}/{self.manifest.version} has no calibrated score")
        logit, log_odds = np.array(self.manifest.score.knots).T
        return Knots(logit, log_odds)


@cache
def served(name: str) -> Served:
    """Opened once a process."""
    return Served(name)

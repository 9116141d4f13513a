"""The discriminator of a published GAN without the correction of its score, calibrated as if it were served so."""

from dataclasses import replace
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.datasets import load
from training.evaluation.samples import SAMPLES, SEED
from training.feature_space import batches
from training.metrics.monotone_scaling import Knots, monotone_scaling
from training.studies.served import served
from training.studies.study import Device
from training.trained import MODELS, load_trained


class Uncorrected:
    """Its networks, of the model `name` ("mnist-gan/4"), and the data that it was trained on."""

    def __init__(self, name: str, device: Device) -> None:
        folder = MODELS / name
        self._name, self._device = name, device
        self._test = load("mnist", "test")
        trained = replace(load_trained(folder, self._test, device), correction=None)
        self._discriminate = trained.operations(load("mnist", "train"), self._device)["discriminate"]

    @torch.no_grad()
    def logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """(N,), of uint8 (N, C, H, W)."""
        parts: list[Tensor] = [
            self._discriminate(batch).cpu() for batch in batches(torch.from_numpy(images), self._device)
        ]
        return torch.cat(parts).double().numpy()

    @cached_property
    def calibration(self) -> Knots:
        """Logits -> log odds of "real": as `evaluation.score` fits it, to every other test image and sample."""
        fake = served(self._name).sample(SAMPLES, torch.Generator().manual_seed(SEED), "normal")[::2]
        real = self._test.images[::2]
        logits = self.logits(np.concatenate([real, fake]))
        return monotone_scaling(logits, np.arange(len(logits)) < len(real))


@cache
def uncorrected(name: str, device: Device) -> Uncorrected:
    """Read once a process."""
    return Uncorrected(name, device)

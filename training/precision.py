"""In which arithmetic a run is trained: bf16 is for what computes in it."""

import dataclasses

import torch

from training.config import Config


def for_device(config: Config, device: torch.device | str) -> Config:
    """`config`, or the same in "32-true" where `device` is a CPU that has no bf16 arithmetic.

    It would be imitated there: a GAN of 28 x 28 trained at 19 images/s on one core in place of 240.
    """
    if config.precision == "32-true" or torch.device(device).type != "cpu" or cpu_has_bf16():
        return config
    return dataclasses.replace(config, precision="32-true")


def cpu_has_bf16() -> bool:
    """AVX-512 BF16 or AMX: where torch's own kernels compute in it."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()

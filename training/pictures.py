"""Contact sheets as PNG."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from training.files import write_whole


def save_sheet(path: Path, images: Tensor) -> None:
    """Write `sheet_png` to a file, and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, sheet_png(images))


def sheet_png(images: Tensor, columns: int | None = None) -> bytes:
    """Images (N, C, H, W) in [0, 1] as one PNG, row by row, `columns` wide (default: a square)."""
    n, channels, height, width = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.zeros((rows * columns, height, width, channels), np.uint8)
    sheet[:n] = (images.detach().float().cpu().clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()
    sheet = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    pixels = sheet.reshape(rows * height, columns * width, channels)
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()

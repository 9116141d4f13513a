from pathlib import Path

import numpy as np
from PIL import Image

from training.studies import figures


def test_a_figure_is_the_same_file_again_and_grey_where_it_is_grey(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        figure, place = figures.axes(width=2, height=2)
        figures.show_images(place, np.arange(256, dtype=np.uint8).reshape(4, 8, 8), columns=2)
        figures.save(figure, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as saved:
        assert saved.mode == "L"
        assert saved.size == (240, 240)
        assert len(np.unique(np.asarray(saved))) > 200


def test_the_colours_of_a_chart_stay_what_they_are() -> None:
    x = np.linspace(0, 1, 64)
    pixels = np.full((64, 64, 3), 255, np.uint8)
    pixels[8:24] = (72, 120, 168)
    pixels[32:48] = np.stack([255 * x, 255 - 255 * x, 90 * x], 1)[None].astype(np.uint8)
    compact = figures.compact(Image.fromarray(pixels))
    assert compact.mode == "P"
    errors = np.abs(np.asarray(compact.convert("RGB")).astype(int) - pixels)
    assert errors.max() <= 8
    assert errors.mean() < 0.5


def test_grey_is_not_touched() -> None:
    pixels = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    assert np.array_equal(np.asarray(figures.compact(Image.fromarray(pixels)).convert("RGB")), pixels)

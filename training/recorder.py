"""What a run shows while it goes: a progress bar, TensorBoard, a log of JSON lines, grids of pictures."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from torch import Tensor
from tqdm import tqdm

from training.config import Config
from training.events import EventFile
from training.pictures import save_sheet
from training.run_dir import RunDir


class Recorder:
    """Writes into `run`; where not `enabled` (all processes but the first) it does nothing."""

    def __init__(self, run: RunDir, config: Config, images_seen: int, enabled: bool, quiet: bool) -> None:
        self._run, self._enabled, self._batch = run, enabled, config.batch_size
        self._bar = tqdm(
            desc=config.name,
            total=config.images,
            initial=images_seen,
            unit="img",
            unit_scale=True,
            mininterval=0.5,
            disable=quiet or not enabled,
        )
        if enabled:
            run.trim_log(images_seen)
        self._events = EventFile(run.tensorboard, first_step=images_seen + 1) if enabled else None

    def step(self) -> None:
        self._bar.update(self._batch)

    def scalars(self, values: Mapping[str, float], images_seen: int, seconds: float) -> None:
        if self._events is None:
            return
        self._run.append_log({"images_seen": images_seen, "seconds": round(seconds, 3), **values})
        self._events.add(values, images_seen)
        self._bar.set_postfix({key: f"{value:.4g}" for key, value in values.items()}, refresh=False)

    def grid(self, images: Tensor, images_seen: int) -> None:
        if self._enabled:
            save_sheet(self._run.grid(images_seen), images)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()
        if self._events is not None:
            self._events.close()

"""What all peers compute: the answer of `POST /sample?model=mnist-gan&n=&seed=`, to the byte.

The graph, the seeds and the encoders are Latentry's. Everything else, from the socket to the call of these functions,
is the peer's.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service import codecs, latents, manifest, tensors

MODEL = Path(__file__).resolve().parents[2] / "models" / "mnist-gan"
GRAPH = MODEL / str(manifest.versions(MODEL)[-1]) / "generate.onnx"
"""Of the newest version, as it is served."""
LATENT_DIM, CLASSES = 64, 10
SESSION_ROWS = 16
"""Most rows of one call of the session, as in Latentry."""
NPY, PNG = "application/x-npy", "image/png"


class Sampler:
    """The generator of mnist-gan in onnxruntime, one thread, with the session options of Latentry."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])

    def answer(self, n: int, seed: int, media_type: str) -> bytes:
        """`n` images of the seeds from `seed` on, as npy (uint8, NHWC) or as one PNG."""
        return encode(self.images(range(seed, seed + n)), media_type)

    def images(self, seeds: Sequence[int]) -> NDArray[np.uint8]:
        """Of N seeds, each with a latent and a class of its own: (N, 28, 28, 1)."""
        z, label = latents.from_seeds(seeds, LATENT_DIM), latents.classes(seeds, CLASSES)
        parts = [slice(start, start + SESSION_ROWS) for start in range(0, len(z), SESSION_ROWS)]
        runs = [self._run(z[part], label[part]) for part in parts]
        return runs[0] if len(runs) == 1 else np.concatenate(runs)

    def _run(self, z: NDArray[np.float32], label: NDArray[np.int64]) -> NDArray[np.uint8]:
        outputs: list[Any] = self._session.run(["image"], {"z": z, "label": label})
        return tensors.to_images(outputs[0])


def encode(images: NDArray[np.uint8], media_type: str) -> bytes:
    """npy; or PNG: the image, or a contact sheet of several."""
    if media_type == NPY:
        return codecs.encode_npy(images)
    return codecs.encode_png(images[0] if len(images) == 1 else codecs.contact_sheet(images))

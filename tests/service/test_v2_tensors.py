"""Tensors as bytes: read in place, and laid down once. What HTTP can show is in http/test_v2.py."""

import json

import numpy as np
import pytest

from service.registry import Registry
from service.v2 import tensors as v2_tensors
from service.v2.models import GraphModel, find
from service.v2.schemas import InferRequest


@pytest.fixture(scope="module")
def generate(registry: Registry) -> GraphModel:
    return find(registry, "tiny-vae.generate")


@pytest.mark.parametrize("offset", range(8))
def test_bytes_are_copied_only_where_they_are_not_aligned(generate: GraphModel, offset: int) -> None:
    z = np.arange(12, dtype=np.float32).reshape(3, 4)
    body = np.zeros(offset + z.nbytes, np.uint8)  # numpy begins its arrays aligned
    body[offset:] = np.frombuffer(z.tobytes(), np.uint8)
    request = InferRequest.model_validate(
        {
            "inputs": [
                {
                    "name": "z",
                    "shape": [3, 4],
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": 48},
                }
            ]
        }
    )
    got = v2_tensors.read(request.inputs, body.data[offset:], generate, 3)["z"]
    assert got.dtype == np.float32
    assert np.array_equal(got, z)
    assert got.flags.aligned
    assert np.shares_memory(got, body) == (offset % 4 == 0)


def test_bytes_are_little_endian_whatever_the_array_is(generate: GraphModel) -> None:
    image = np.arange(64, dtype=">f4").reshape(1, 1, 8, 8)
    wanted = [v2_tensors.Wanted(0, True)]
    body, json_length = v2_tensors.write(generate, None, [image], wanted)
    assert body[json_length:] == image.astype("<f4").tobytes()
    assert json.loads(body[:json_length])["outputs"] == [
        {
            "name": "image",
            "datatype": "FP32",
            "shape": [1, 1, 8, 8],
            "parameters": {"binary_data_size": 256},
        }
    ]


def test_the_latest_version_that_has_the_graph_is_the_default(registry: Registry) -> None:
    assert find(registry, "tiny-gan.generate").version == "2"
    first, second = (registry.get("tiny-gan", version) for version in (1, 2))
    only_generates = type(second)(
        second.manifest, {"generate": second.graph("generate")}, second.digest, second.folder
    )
    mixed = Registry([first, only_generates], {})
    assert find(mixed, "tiny-gan.generate").version == "2"
    assert find(mixed, "tiny-gan.discriminate").version == "1"

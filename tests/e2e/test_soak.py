"""A short form of `make soak`."""

import shutil
from pathlib import Path

from load_tests.chaos.parts import MODEL, MODELS
from load_tests.chaos.promises import MIB
from load_tests.chaos.reloads import copy_of
from load_tests.generator import run_loop
from load_tests.soak.traffic import soak
from tests.service.server import running


def test_every_kind_of_request_gets_its_answer_and_nothing_is_left_behind(tmp_path: Path) -> None:
    root = tmp_path / "models"
    shutil.copytree(MODELS, root)
    lines: list[str] = []
    with running(root, tmp_path, workers=2, admin=True) as service:
        found = run_loop(
            soak(
                service,
                root,
                MODEL.parent.name,
                copy_of(MODEL),
                seconds=6.0,
                sample_every_s=0.25,
                rest_s=0.1,
                tell=lines.append,
            )
        )
    assert found.unexpected == {}
    assert len(found.asked) > 15
    assert found.changes == len(lines) == len(found.rests) >= 2
    first, last = found.ends(found.samples)
    assert last.descriptors <= first.descriptors + 4  # clients that change connections
    assert last.threads <= first.threads + 4  # begun when they are first of use, two a worker
    assert last.uss_bytes < 450 * MIB  # about 300 once every kind was asked of every worker
    assert {len(sample.held) for sample in found.samples} == {3}

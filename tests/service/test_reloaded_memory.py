"""What models took that were dropped is given back to the operating system."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_MIB = 3
"""A version of this model takes more; twenty come and go, some of them unused."""

SCRIPT = """
import json, os, re, shutil, sys
from pathlib import Path
from service import memory, operations
from service.loader import process_models
from service.steps import finish

root, source = Path(sys.argv[1]), Path(sys.argv[2])

def publish(version):
    folder = root / "mnist-gan" / str(version)
    shutil.copytree(source, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": version}))

def private_mib():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

publish(1)
models = process_models()
models.start()
models.registry()
found = []
for version in range(2, 26):
    publish(version)
    changes = models.look(final=False)
    assert changes.loaded == [f"mnist-gan/{version}"], changes
    shutil.rmtree(root / "mnist-gan" / str(version - 1))
    assert models.look(final=False).dropped == [f"mnist-gan/{version - 1}"]
    models.clear_up()
    if version % 2:
        for n in (5, 20, 300):
            finish(operations.sample(models.registry().get("mnist-gan"), range(n)))
    memory.trim()
    found.append(private_mib())
print(json.dumps(found))
"""


def test_versions_that_come_and_go_leave_no_memory_behind(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(ROOT / "models/mnist-gan/4")],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "LATENTRY_MODELS_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = json.loads(result.stdout)
    assert len(found) == 24
    assert max(found[4:]) - found[3] < MOST_MIB, found

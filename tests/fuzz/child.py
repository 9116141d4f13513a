"""One target under atheris, in a process of its own: `python -m tests.fuzz.child NAME FOLDER [libFuzzer's options]`.

Atheris, because it is guided by the coverage of Python code and is libFuzzer for the rest: it keeps what reached
something new, stops a case that takes long, also in compiled code, and writes down what it finds. What is compiled
(Pillow's and zlib's decoders, pydantic) is not instrumented: it is reached, not explored.
"""

import logging
import sys
from functools import partial
from pathlib import Path

import atheris
from numpy.lib import _format_impl as npy_format

with atheris.instrument_imports(include=["service", "PIL", "python_multipart", "zipfile"]):
    from tests.fuzz import targets

# numpy as a whole would take long to instrument, and be slow.
for _function in (npy_format.read_magic, npy_format._read_array_header):  # type: ignore[attr-defined]
    atheris.instrument_func(_function)


def main(arguments: list[str]) -> None:
    """Does not return: libFuzzer ends the process. Status 0: nothing was found in the time given.

    Args:
        arguments: a target's name, a folder for what it writes, and libFuzzer's own: its corpus and options.
    """
    name, folder, *theirs = arguments
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # else a line for each case
    target = targets.TARGETS[name](Path(folder))
    seeds = Path(folder) / "seeds"
    seeds.mkdir()
    for i, seed in enumerate(target.seeds):
        (seeds / str(i)).write_bytes(seed)
    atheris.Setup([sys.argv[0], *theirs, str(seeds)], partial(targets.attempt, target))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])

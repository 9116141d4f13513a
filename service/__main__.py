"""`python -m service`: serve the models. Every setting is an option too; `--help` lists them."""

import argparse
import errno
import gc
import os
import sys
import time
from collections.abc import Sequence

from pydantic import ValidationError

from service.keys import KeysError, process_keys
from service.launch import listening
from service.launch.service import run
from service.settings import ENV_PREFIX, Settings, load_settings


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 after SIGTERM or SIGINT, 1 where it cannot start, 2 where it is told what cannot be."""
    started_s = time.monotonic() - time.process_time()  # Python and the imports above have taken a while
    # What is imported stays, nearly all of it: to walk over it again and again is a sixth of the time to start.
    gc.disable()
    for name, value in vars(_parse(argv)).items():
        if value is not None:
            os.environ[f"{ENV_PREFIX}{name.upper()}"] = value
    try:
        settings = load_settings()
    except ValidationError as error:
        for fault in error.errors():
            name = str(fault["loc"][0])
            _complain(f"{_option(name)} ({ENV_PREFIX}{name.upper()}): {fault['msg']}, not {fault['input']!r}")
        return 2
    try:
        process_keys()
    except KeysError as error:
        _complain(f"{_option('keys_file')} ({ENV_PREFIX}KEYS_FILE): {error}")
        return 2
    try:
        listener = listening.bind(settings.host, settings.port, settings.request_timeout_s)
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        _complain(
            f"cannot listen on port {settings.port} of {settings.host}: {reason}; choose by --host, --port"
        )
        return 1
    return run(settings, listener, started_s)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m service", description="Serve the models.", allow_abbrev=False
    )
    for name, field in Settings.model_fields.items():
        parser.add_argument(
            _option(name), help=f"{field.description} [{ENV_PREFIX}{name.upper()}]".replace("%", "%%")
        )
    return parser.parse_args(argv)


def _option(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _complain(what: str) -> None:
    print(f"Latentry: {what}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

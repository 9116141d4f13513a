"""What the operator may ask for, where the setting `admin` allows it."""

import time
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.schemas import JSON, ReloadAnswer, WorkerReload
from service.settings import Settings
from service.watcher import Watcher

RELOAD = "/admin/reload"

_LOOK_S = 0.05


def routes(watcher: Watcher, settings: Settings) -> list[Route]:
    """None of them, unless the setting is on."""
    # Within the Gateway's deadline.
    wait_s = 0.8 * settings.request_timeout_s

    # A plain function: starlette runs it in a thread, where waiting holds up nothing.
    def reload(_: Request) -> Response:
        return Response(_reload(watcher, wait_s).model_dump_json(), media_type=JSON)

    return [Route(RELOAD, reload, methods=["POST"])] if settings.admin else []


def _reload(watcher: Watcher, wait_s: float) -> ReloadAnswer:
    workers = watcher.workers
    call = workers.call()
    deadline_s = time.monotonic() + wait_s
    while True:
        answers = workers.answers()
        is_complete = bool(answers) and all(answer.call >= call for answer in answers)
        if is_complete or time.monotonic() >= deadline_s:
            break
        time.sleep(_LOOK_S)
    return ReloadAnswer(
        complete=is_complete,
        workers=[
            WorkerReload(pid=answer.pid, done=answer.call >= call, **asdict(answer.changes))
            for answer in answers
        ],
    )

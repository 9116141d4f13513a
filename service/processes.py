"""The processes of a service, which know each other by files named after their ids."""

import os


def is_alive(pid: int) -> bool:
    """Whether a process of ours has this id; one that may not be signalled is another's, which has got the id since."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True

"""What is known of the requests: metrics by model and operation, and JSON log lines that carry whose they are."""

from service.telemetry.logs import configure_logging
from service.telemetry.metrics import changed, serving
from service.telemetry.record import RECORD, Record, in_flight, render, request_id, settle, watch_queue

__all__ = [
    "RECORD",
    "Record",
    "changed",
    "configure_logging",
    "in_flight",
    "render",
    "request_id",
    "serving",
    "settle",
    "watch_queue",
]

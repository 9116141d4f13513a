"""The serving side of Latentry: operations on images over HTTP, with onnxruntime."""

import os

# onnxruntime's Linux builds tell Microsoft which models are run, unless this is set before they are imported. They
# also keep a thread for it, with which no process could be forked safely.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

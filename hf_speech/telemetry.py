"""Libraries that report to their makers are told not to; before they are imported, as some look only then."""

import os

_QUIET = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime, which speaks to Microsoft from its import on (1.31)
    "GRADIO_ANALYTICS_ENABLED": "False",
}


def keep_quiet() -> None:
    """Sets what onnxruntime and Gradio read when they are imported; what somebody has set stays."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)

"""Time limits that hold on a busy machine too."""

from __future__ import annotations

import os


def patient(seconds: float) -> float:
    """So many seconds on a quiet machine; more, the more processes wait for each core."""
    waiting = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * max(1.0, waiting)

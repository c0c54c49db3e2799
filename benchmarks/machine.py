"""Facts about the machine that a reader needs to judge a figure."""

import os
import platform
import subprocess
import tempfile
from pathlib import Path


def machine() -> dict[str, str]:
    """Return facts about this machine, without its name and without any path."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "file system": _file_system(),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system() -> str:
    told = subprocess.run(["stat", "-f", "-c", "%T", tempfile.gettempdir()], check=False, capture_output=True, text=True)
    return told.stdout.strip() or "unknown"

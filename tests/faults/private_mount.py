"""Mounts that nobody else sees: a mount namespace of their own, gone with the process."""

from __future__ import annotations

import os
import shutil
import subprocess

IN_PRIVATE = ("unshare", "--mount")
"""Put in front of a command."""


def find_why_no_mounts(*tools: str) -> str:
    """Why a test that mounts cannot run here; "" when it can. `tools` are needed besides."""
    if os.geteuid() != 0:
        return "mounting needs root"
    missing = [tool for tool in ("unshare", "mount", *tools) if not shutil.which(tool)]
    if missing:
        return f"mounting needs {missing[0]}"
    if subprocess.run([*IN_PRIVATE, "true"], capture_output=True, check=False).returncode:
        return "this root may not mount (a container without CAP_SYS_ADMIN?)"
    return ""

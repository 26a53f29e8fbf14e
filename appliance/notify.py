"""What a service tells systemd: ready, stopping, still alive.

Nothing is sent when nobody asked: systemd names its socket in `NOTIFY_SOCKET`, and without it
every call is a no-op. Says nothing else to anyone; when to pet the watchdog is for the caller.
"""

from __future__ import annotations

import os
import socket

READY = "READY=1"
STOPPING = "STOPPING=1"
WATCHDOG = "WATCHDOG=1"
"""States that the service manager knows; further lines look like `STATUS=two jobs`."""

_SEND_SECONDS = 1.0
"""Longest wait for a manager that does not read: a late sign of life must not stop the service."""


def notify(*lines: str) -> bool:
    """Send states to the service manager.

    Args:
        lines: assignments such as `READY`, or `STATUS=` with a line for people.

    Returns:
        Whether a service manager got them. False without one, and when it cannot be reached: a
        service that runs must not fall over because nobody listens.

    Source: sd_notify(3); a leading `@` names an abstract socket.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not lines or address[:1] not in ("/", "@"):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(_SEND_SECONDS)
            channel.connect(address)
            channel.sendall("\n".join(lines).encode())
    except OSError:
        return False
    return True


def watchdog_seconds() -> float | None:
    """How often the service manager wants a sign of life, in seconds; None when it does not.

    A service is killed when it stays silent for that long, so tell it twice as often. A limit
    that was meant for another process (`WATCHDOG_PID`) is not ours.

    Source: sd_watchdog_enabled(3).
    """
    process = os.environ.get("WATCHDOG_PID", "")
    if process and process != str(os.getpid()):
        return None
    try:
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None

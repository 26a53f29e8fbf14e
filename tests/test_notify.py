"""Oracle: sd_notify(3) and sd_watchdog_enabled(3); a real datagram socket stands for systemd."""

import os
import socket

import pytest

from appliance.notify import READY, STOPPING, WATCHDOG, notify, watchdog_seconds


@pytest.fixture
def manager(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield channel


def test_notify_sends_all_lines_in_one_message(manager):
    assert notify(READY, "STATUS=two jobs") is True
    assert manager.recv(1000) == b"READY=1\nSTATUS=two jobs"


def test_notify_reaches_an_abstract_socket(monkeypatch):
    name = f"appliance-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("\0" + name)
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        assert notify(WATCHDOG) is True
        assert channel.recv(1000) == b"WATCHDOG=1"


def test_notify_does_nothing_without_a_service_manager(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify(READY) is False


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1"])
def test_notify_ignores_an_address_that_is_no_unix_socket(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert notify(READY) is False


def test_notify_survives_a_manager_that_is_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert notify(STOPPING) is False


def test_notify_does_not_wait_forever_for_a_manager_that_does_not_read(manager):
    manager.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    results = [notify(WATCHDOG)]
    while results[-1] and len(results) < 100_000:
        results.append(notify(WATCHDOG))
    assert results[-1] is False


def test_notify_without_lines_sends_nothing(manager):
    assert notify() is False
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(1000)


@pytest.mark.parametrize(
    ("microseconds", "expected"),
    [("30000000", 30.0), ("500000", 0.5), ("0", None), ("-1", None), ("soon", None), ("", None)],
)
def test_watchdog_seconds_reads_the_limit(monkeypatch, microseconds, expected):
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert watchdog_seconds() == expected


def test_watchdog_seconds_is_none_without_a_service_manager(monkeypatch):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert watchdog_seconds() is None


@pytest.mark.parametrize(("is_ours", "expected"), [(True, 2.0), (False, None)])
def test_watchdog_seconds_is_only_for_the_process_it_was_meant_for(monkeypatch, is_ours, expected):
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + (0 if is_ours else 1)))
    assert watchdog_seconds() == expected

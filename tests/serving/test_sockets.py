"""Sockets that servers listen on."""

import socket

import pytest

from appliance.serving.sockets import open_tcp_socket


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_answers_leave_at_once(host):
    """A head and a body that are sent one after the other must not wait for each other (Nagle)."""
    with (
        open_tcp_socket(host, 0, has_token=True) as listening,
        socket.create_connection(listening.getsockname()[:2], timeout=10),
    ):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

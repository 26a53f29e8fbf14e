"""The dashboard as a process: slow clients, TLS, and where it refuses to listen."""

from __future__ import annotations

import asyncio
import datetime
import http.client
import socket
import ssl
import threading

import pytest

from appliance.daemon.client import Client
from appliance.errors import UsageError
from appliance.serving import connections
from appliance.web.app import App
from appliance.web.desk import Desk
from appliance.web.guard import Door
from appliance.web.server import Certificate, Place, make_desk, open_place

NUM_SLOW = 200
"""Connections that never finish their request; `scripts/bench load` takes a thousand."""


def make_certificate(folder):
    """A self-signed certificate for localhost."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return Certificate(certificate=folder / "cert.pem", key=folder / "key.pem")


@pytest.fixture
def serve(tmp_path):
    """A function that serves a place in a thread, and gives its port."""
    import uvicorn

    ends = []

    def begin(place):
        desk = Desk(tmp_path / "dashboard", Client(tmp_path / "no.sock"), ())
        listening = open_place(place)
        door = Door(is_secure=place.certificate is not None)
        config = uvicorn.Config(
            App(desk).make(door),
            http=connections.PatientProtocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            ssl_certfile=place.certificate.certificate if place.certificate else None,
            ssl_keyfile=place.certificate.key if place.certificate else None,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True
        )
        thread.start()

        def end():
            server.should_exit = True
            thread.join(30)
            listening.close()

        ends.append(end)
        return listening.getsockname()[1]

    yield begin
    for end in ends:
        end()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_dashboard_does_not_listen_to_others_without_tls(host):
    with pytest.raises(UsageError, match="without TLS"):
        open_place(Place(host=host, port=0))


def test_dashboard_needs_folders_that_are_there(tmp_path):
    with pytest.raises(UsageError, match="is not a folder"):
        make_desk(tmp_path, Client(tmp_path / "no.sock"), (tmp_path / "gone",))


def test_tls_cookie_is_bound_to_this_host(serve, tmp_path):
    from appliance.web.tokens import create_token

    port = serve(Place(host="127.0.0.1", port=0, certificate=(files := make_certificate(tmp_path))))
    _, token = create_token(tmp_path / "dashboard", "anna", "read", 3600.0, 4e9)
    trust = ssl.create_default_context(cafile=str(files.certificate))
    connection = http.client.HTTPSConnection("localhost", port, context=trust, timeout=30)
    connection.request(
        "POST",
        "/login",
        f"token={token}",
        {
            "content-type": "application/x-www-form-urlencoded",
            "origin": f"https://localhost:{port}",
        },
    )
    answer = connection.getresponse()
    cookie = answer.headers["set-cookie"]
    connection.close()

    assert answer.status == 303
    assert cookie.startswith("__Host-appliance=")
    assert "secure" in cookie.lower()
    assert answer.headers["strict-transport-security"]


def test_slow_clients_are_let_go_and_hold_nobody_up(serve, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    port = serve(Place(host="127.0.0.1", port=0))
    slow = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(NUM_SLOW)]
    for each in slow:
        each.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")

    quick = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    quick.request("GET", "/health")
    status = quick.getresponse().status
    quick.close()
    ends = [each.recv(1) for each in slow]
    for each in slow:
        each.close()

    assert status == 200
    assert ends == [b""] * NUM_SLOW


def test_body_that_does_not_come_is_given_up(serve, monkeypatch):
    from appliance.web import requests

    monkeypatch.setattr(requests, "BODY_SECONDS", 0.3)
    port = serve(Place(host="127.0.0.1", port=0))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(
            f"POST /login HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\n".encode()
        )
        line = client.recv(64)

    assert b" 408 " in line

"""The command line's side of the control socket: find a service, ask it, raise what it raises."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from appliance.daemon.handover import require_absent, take_tar
from appliance.daemon.paths import find_sockets
from appliance.daemon.sending import write_tar
from appliance.errors import ApplianceError, ServiceError, find_error

_SECONDS = 60.0
"""Longest wait for an answer; events of a job that somebody follows may take longer."""

_HAND_OVER_SECONDS = 900.0
"""Longest wait when a folder was sent: it is answered when all of it is on the disk."""

_PROBE_SECONDS = 5.0
"""Longest wait for a connection."""


class HandOverNeeded(Exception):  # noqa: N818  (an answer, not a fault)
    """The service does not read the folder where it is: hand it over, and ask again."""


class ServiceSilentError(ServiceError):
    """The service does not answer, or no longer: it may come back."""


class Client:
    """A service that answers on a control socket."""

    def __init__(self, path: Path) -> None:
        """Nothing is asked yet.

        Args:
            path: of the control socket.
        """
        self.path = path

    def ask(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: Any
    ) -> dict[str, Any]:
        """One question, one JSON object.

        Raises:
            HandOverNeeded: the documents have to be handed over.
            ApplianceError: what the service answered, as its own class.
            ServiceSilentError: it does not answer.
        """
        with self._open(method, path, query, body) as response:
            return _read(response)

    def follow(self, job_id: int) -> Iterator[str]:
        """Events of a job's attempts from now on, a JSON line each, until it has ended.

        It ends early, or with ServiceSilentError, when the service goes away.
        """
        query = {"from": "attempt", "follow": "1"}
        with self._open("GET", f"/v1/jobs/{job_id}/events", query, None, seconds=None) as response:
            for line in response:
                yield line.decode()

    def read_events(self, job_id: int) -> Iterator[str]:
        """All events of a job so far, a JSON line each."""
        with self._open("GET", f"/v1/jobs/{job_id}/events", {}, None) as response:
            for line in response:
                yield line.decode()

    def hand_over(self, folder: Path) -> tuple[int, int]:
        """Send a folder of documents to a service that cannot read it where it is.

        Returns:
            Files sent, and files left out because nobody here can read them or they are no files.
        """
        with self._connect(_HAND_OVER_SECONDS) as connection:
            connection.putrequest("PUT", f"/v1/documents?{urlencode({'source': str(folder)})}")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            num_left_out = 0
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its answer says why
                num_left_out = write_tar(folder, _Chunks(connection))
                connection.send(b"0\r\n\r\n")
            answer = _read(connection.getresponse())
        return int(answer["num_files"]), num_left_out

    def fetch_bundle(self, job_id: int, target: Path) -> int:
        """Copy the bundle of a job that is done into a new folder; returns its bytes."""
        require_absent(target)
        with self._open("GET", f"/v1/jobs/{job_id}/bundle", {}, None) as response:
            return take_tar(response, target)

    def stream_bundle(self, job_id: int) -> Iterator[bytes]:
        """The bundle of a job that is done, as blocks of a tar file."""
        with self._open("GET", f"/v1/jobs/{job_id}/bundle", {}, None) as response:
            while block := response.read(2**16):
                yield block

    @contextlib.contextmanager
    def _open(
        self,
        method: str,
        path: str,
        query: dict[str, Any],
        body: dict[str, Any] | None,
        seconds: float | None = _SECONDS,
    ) -> Iterator[http.client.HTTPResponse]:
        """One request and its response, closed at the end of the block."""
        if query:
            path = f"{path}?{urlencode(query)}"
        with self._connect(seconds) as connection:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            if response.status >= 400:
                _read(response)
            yield response

    @contextlib.contextmanager
    def _connect(self, seconds: float | None) -> Iterator[_UnixConnection]:
        """A connection; what breaks it is told as the silence of the service."""
        connection = _UnixConnection(self.path, seconds)
        try:
            yield connection
        except (OSError, http.client.HTTPException) as exc:
            raise _describe_silence(self.path, exc) from exc
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, seconds: float | None) -> None:
        super().__init__("localhost", timeout=seconds)
        self._socket_path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._socket_path))


class _Chunks:
    """A file whose writes are chunks of a request body."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def write(self, block: bytes) -> int:
        if block:
            self._connection.send(b"%x\r\n%b\r\n" % (len(block), block))
        return len(block)


def find_client() -> Client | None:
    """The nearest service that accepts a connection; None if there is none for this person."""
    for path in find_sockets():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_PROBE_SECONDS)
            try:
                probe.connect(str(path))
            except OSError:  # nobody listens, or not to this person
                continue
        return Client(path)
    return None


def require_client() -> Client:
    """The nearest service.

    Raises:
        ServiceError: none listens for this person.
    """
    client = find_client()
    if client is None:
        raise ServiceError(
            "no service listens for you here",
            why="tried " + ", ".join(map(str, find_sockets())),
            fix="appliance service status tells why; appliance daemon starts one for yourself",
        )
    return client


def _read(response: http.client.HTTPResponse) -> dict[str, Any]:
    """The object in a response; raises the error in it."""
    try:
        answer = json.loads(response.read())
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ServiceError(
            "the service answered something that is not its own",
            why=f"status {response.status}",
            fix="use a command line of the same version as the service",
        )
    if response.status < 400:
        return answer
    if response.status == http.client.CONFLICT:
        raise HandOverNeeded
    error = answer.get("error", {})
    kind = find_error(str(error.get("name")))
    if kind is ApplianceError:
        kind = ServiceError
    raise kind(
        str(error.get("what", "the service refused")),
        why=str(error.get("why", "")),
        fix=str(error.get("fix", "")),
    )


def _describe_silence(path: Path, exc: Exception) -> ServiceSilentError:
    cause = exc.strerror if isinstance(exc, OSError) else ""
    return ServiceSilentError(
        "the service does not answer",
        why=f"{path}: {cause or type(exc).__name__}",
        fix="appliance service status",
    )

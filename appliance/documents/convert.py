"""The converter process: reads files for `converter.py`, one at a time, in a cage.

Started as `python -m appliance.documents.convert`, by its parent or as a unit of the service
manager; its standard input is one end of a unix socket. It has a limit on memory, no network where
the kernel allows that, ends with the other end of its socket, and may be killed at any moment. It
needs no file system: each file comes as an open descriptor. Text leaves it clean and scrubbed, with
a mark (`placeholders.py`) for each private value, which itself never reaches another process.

A request is eight bytes of length, with the descriptor beside them, and as many of JSON: {"task",
"name", "member", "max_bytes", "only_fallback", "scrub", "mark_key", "seconds"}. A reply is the same
without a descriptor. The task is to convert a file (or a member of an archive), or to list an
archive.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import resource
import signal
import socket
import stat
import struct
import sys
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from appliance.documents.clean import clean_text, clean_turn
from appliance.documents.placeholders import drop_marks, make_mark
from appliance.documents.readers.archive import list_members, read_member
from appliance.documents.readers.choose import is_zipped_document, read_file
from appliance.documents.readers.extract import UnreadableFile
from appliance.documents.scrub import ScrubPolicy, read_policy, scrub_text

MEMORY_BYTES = 2**30
"""What reading one file may take, above what the process has when it starts."""

_MAX_TITLE = 1_000
_LENGTH = struct.Struct(">Q")
_CLONE_NEWUSER, _CLONE_NEWNET, _PR_SET_PDEATHSIG = 0x10000000, 0x40000000, 1


def main() -> None:
    """Answer requests until the other end of the socket closes."""
    memory_bytes = int(sys.argv[1]) if len(sys.argv) > 1 else MEMORY_BYTES
    channel = socket.socket(fileno=os.dup(0))
    sink = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):  # what a library prints must not look like a reply
        os.dup2(sink, descriptor)
    enter_cage(memory_bytes)
    while (received := receive_request(channel)) is not None:
        request, file = received
        signal.alarm(int(2 * request["seconds"]) + 1)  # for when nobody may kill us
        body = json.dumps(_answer(request, file)).encode()
        signal.alarm(0)
        channel.sendall(_LENGTH.pack(len(body)) + body)


def receive_request(channel: socket.socket) -> tuple[dict[str, Any], int] | None:
    """The next request and the descriptor that came with it; None at the end."""
    head, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, 1)
    if not head or not descriptors:
        return None
    head += _receive(channel, _LENGTH.size - len(head))
    (length,) = _LENGTH.unpack(head)
    return json.loads(_receive(channel, length)), descriptors[0]


def _receive(channel: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = channel.recv(length - len(parts))
        if not part:
            sys.exit()  # the parent died in the middle of a word
        parts += part
    return bytes(parts)


def enter_cage(memory_bytes: int) -> None:
    """Limit memory, drop the network where possible, die with the parent.

    Args:
        memory_bytes: what reading may take above what the process has now.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if libc.unshare(_CLONE_NEWNET) != 0 and os.geteuid() != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)  # forbidden on some systems: then without
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = now + memory_bytes
    with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(request: dict[str, Any], descriptor: int) -> dict[str, Any]:
    try:
        with os.fdopen(descriptor, "rb") as file:
            return _work(request, file)
    except UnreadableFile as exc:
        return {"reason": exc.reason, "fix": exc.fix}
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        return {"reason": f"the disk says: {reason}", "fix": "check the disk or the share"}
    except (MemoryError, RecursionError):
        return {"crashed": "its reader needed more memory than a file may take"}
    except Exception as exc:  # a shell: a file must never end the job, and no message may quote it
        return {"crashed": f"its reader failed with {type(exc).__name__}"}


def _work(request: dict[str, Any], file: BinaryIO) -> dict[str, Any]:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise UnreadableFile("it is not a plain file", "replace it by a plain file")
    if request["task"] == "list":
        return _list_archive(file)
    max_bytes, member = request["max_bytes"], request["member"]
    is_member = member is not None
    data = read_member(file, member, max_bytes) if is_member else _read_bytes(file, max_bytes)
    sha256 = hashlib.sha256(data).hexdigest() if is_member else ""  # the parent hashes files
    return {"sha256": sha256} | convert(
        data,
        PurePath(request["name"]),
        only_fallback=request["only_fallback"],
        policy=read_policy(request["scrub"]),
        mark_key=bytes.fromhex(request["mark_key"]),
    )


def _list_archive(file: BinaryIO) -> dict[str, Any]:
    """The members of an archive; none for a document that only has the name of one."""
    if is_zipped_document(file):
        return {"members": None}
    return {"members": [asdict(member) for member in list_members(file)]}


def convert(
    data: bytes, name: PurePath, *, only_fallback: bool, policy: ScrubPolicy, mark_key: bytes
) -> dict[str, Any]:
    """Read, clean and scrub one file.

    Args:
        data: its bytes.
        name: of the file; decides how it is read.
        only_fallback: leave out the first reader.
        policy: which private values are replaced.
        mark_key: under which their marks are made.

    Returns:
        title, text, conversations, remark and masked (counts by kind), ready for JSON.

    Raises:
        UnreadableFile: no text can be taken from it.
    """
    extract = read_file(data, name, only_fallback=only_fallback)
    cleaned = clean_text(extract.text)
    masked: Counter[str] = Counter()

    def scrub(text: str) -> str:
        scrubbed, counts = scrub_text(drop_marks(text), policy, partial(make_mark, key=mark_key))
        masked.update(counts)
        return scrubbed

    title = cleaned.title or extract.title or name_title(name)
    return {
        "title": scrub(title[:_MAX_TITLE]),  # shortened when its marks are filled in
        "text": scrub(cleaned.text),
        "conversations": [
            [(role, scrub(clean_turn(content))) for role, content in turns]
            for turns in extract.conversations
        ],
        "remark": extract.remark,
        "masked": masked,
    }


def name_title(path: PurePath) -> str:
    """A title from a file name: `m89845-other_types` reads `Other types`."""
    words = path.stem.replace("_", " ").replace("-", " ").split()
    while len(words) > 1 and sum(map(str.isdigit, words[0])) >= 3 and not words[0].isdigit():
        del words[0]
    title = " ".join(words) or path.name
    return title[:1].upper() + title[1:]


def _read_bytes(file: BinaryIO, max_bytes: int) -> bytes:
    limit = min(os.fstat(file.fileno()).st_size, max_bytes)
    data = file.read(limit + 1)
    if len(data) > limit:
        raise UnreadableFile("it grew while it was read", "run the same command again")
    return data


if __name__ == "__main__":
    main()

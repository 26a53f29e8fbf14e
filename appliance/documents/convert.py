"""The converter process: reads files for `converter.py`, one at a time, in a cage.

Started as `python -m appliance.documents.convert BYTES`. It has a limit on memory, no network where
the kernel allows that, dies with its parent, and may be killed at any moment. Text leaves it clean
and with its secrets masked, so that nothing else of a file ever reaches another process.

A request is a line of JSON: {"path", "max_bytes", "only_fallback", "mask_secrets"}. A reply is
eight bytes of length and as many of JSON.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import stat
import struct
import sys
from pathlib import Path, PurePath
from typing import Any

from appliance.documents.clean import clean_text, clean_turn
from appliance.documents.readers.choose import read_file
from appliance.documents.readers.extract import Conversation, UnreadableFile
from appliance.documents.scrub import mask_secrets

_CLONE_NEWUSER, _CLONE_NEWNET, _PR_SET_PDEATHSIG = 0x10000000, 0x40000000, 1


def main() -> None:
    """Answer requests from standard input until it closes."""
    memory_bytes = int(sys.argv[1])
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not look like a reply
    enter_cage(memory_bytes)
    for line in sys.stdin:
        body = json.dumps(_answer(json.loads(line))).encode()
        replies.write(struct.pack(">Q", len(body)) + body)
        replies.flush()


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


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return convert(
            Path(request["path"]),
            max_bytes=request["max_bytes"],
            only_fallback=request["only_fallback"],
            should_mask=request["mask_secrets"],
        )
    except UnreadableFile as exc:
        return {"reason": exc.reason, "fix": exc.fix}
    except PermissionError:
        return {"reason": "no permission to read it", "fix": "give this user permission to read it"}
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        return {"reason": f"the disk says: {reason}", "fix": "check the disk or the share"}
    except (MemoryError, RecursionError):
        return {"crashed": "its reader needed more memory than a file may take"}
    except Exception as exc:  # a shell: a file must never end the job, and no message may quote it
        return {"crashed": f"its reader failed with {type(exc).__name__}"}


def convert(
    path: Path, *, max_bytes: int, only_fallback: bool, should_mask: bool
) -> dict[str, Any]:
    """Read, clean and scrub one file.

    Returns:
        title, text, conversations, remark and num_secrets_masked, ready for JSON.

    Raises:
        UnreadableFile: no text can be taken from it.
        OSError: it cannot be opened.
    """
    extract = read_file(_read_bytes(path, max_bytes), PurePath(path), only_fallback=only_fallback)
    cleaned = clean_text(extract.text)
    conversations: tuple[Conversation, ...] = tuple(
        tuple((role, clean_turn(content)) for role, content in turns)
        for turns in extract.conversations
    )
    title = cleaned.title or extract.title or name_title(PurePath(path))
    text, num_masked = cleaned.text, 0
    if should_mask:
        title, in_title = mask_secrets(title)
        text, in_text = mask_secrets(text)
        conversations, in_turns = _mask_conversations(conversations)
        num_masked = in_title + in_text + in_turns
    return {
        "title": title[:200],
        "text": text,
        "conversations": conversations,
        "remark": extract.remark,
        "num_secrets_masked": num_masked,
    }


def name_title(path: PurePath) -> str:
    """A title from a file name: `m89845-other_types` reads `Other types`."""
    words = path.stem.replace("_", " ").replace("-", " ").split()
    while len(words) > 1 and sum(map(str.isdigit, words[0])) >= 3 and not words[0].isdigit():
        del words[0]
    title = " ".join(words) or path.name
    return title[:1].upper() + title[1:]


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as handle:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFile("it is not a plain file", "replace it by a plain file")
        data = handle.read(min(status.st_size, max_bytes) + 1)
    if len(data) > min(status.st_size, max_bytes):
        raise UnreadableFile("it grew while it was read", "run the same command again")
    return data


def _mask_conversations(
    conversations: tuple[Conversation, ...],
) -> tuple[tuple[Conversation, ...], int]:
    total = 0
    masked = []
    for turns in conversations:
        new_turns = []
        for role, content in turns:
            clean, number = mask_secrets(content)
            total += number
            new_turns.append((role, clean))
        masked.append(tuple(new_turns))
    return tuple(masked), total


if __name__ == "__main__":
    main()

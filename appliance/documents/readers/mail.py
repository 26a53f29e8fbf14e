"""Mail boxes: threads in which a question was answered become conversations, other messages text.

Quoted lines and signatures go: in a thread every message repeats those before it. Names and
addresses of senders are not kept. Single messages (.eml, .msg) are read by `office.py`.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parseaddr
from pathlib import PurePath

from appliance.documents.readers.encoding import decode_text
from appliance.documents.readers.extract import Conversation, Extract, UnreadableFile
from appliance.documents.readers.html import convert_fragment
from appliance.documents.readers.records import tidy_conversation

_POSTMARK = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\r\n\r\n))From [^\r\n]+\r?\n")
_IDENTITY = re.compile(r"<[^<>\s]+>")
_REPLY = re.compile(r"^\s*((re|aw|sv|fwd?|wg|antw|rv|tr)(\[\d+\])?\s*:\s*)+", re.I)
_ATTRIBUTION = re.compile(
    r"^(On|Am|Le|El|Il)\b.{0,200}\b(wrote|schrieb|a écrit|escribió|ha scritto)[^\n]{0,80}:\s*$"
)
_ORIGINAL = re.compile(r"^\s*-{2,}\s*(Original|Ursprüngliche|Forwarded|Weitergeleitete)\b", re.I)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mail:
    """One message: its own words, and what ties it to others."""

    identity: str
    answers: tuple[str, ...]
    subject: str
    sender: str
    text: str
    num_attachments: int


def read_mbox(data: bytes, name: PurePath) -> Extract:
    """All messages of a mail box.

    Raises:
        UnreadableFile: no message begins in it.
    """
    starts = list(_POSTMARK.finditer(data))
    if not starts:
        raise UnreadableFile("no message begins in it", "export the mail box again, as mbox")
    mails, num_bad = [], 0
    ends = [start.start() for start in starts[1:]] + [len(data)]
    for start, end in zip(starts, ends, strict=True):
        try:
            mails.append(_read_mail(data[start.end() : end]))
        except (ValueError, LookupError, RecursionError, TypeError, AttributeError):
            num_bad += 1  # the parser of the standard library has no error of its own
    conversations: list[Conversation] = []
    texts: list[str] = []
    for thread in _tie_threads(mails):
        conversation = _find_conversation(thread)
        if conversation:
            conversations.append(conversation)
        else:
            texts += [_format_mail(mail) for mail in thread]
    return Extract(
        text="\n\n".join(filter(None, texts)),
        conversations=tuple(conversations),
        remark=_remark(num_bad, sum(mail.num_attachments for mail in mails)),
    )


READS = {".mbox": read_mbox, ".mbx": read_mbox}


def _read_mail(data: bytes) -> _Mail:
    message = email.message_from_bytes(data)
    parts = [part for part in message.walk() if not part.is_multipart()]
    attached = [part for part in parts if part.get_filename()]
    return _Mail(
        identity=next(iter(_IDENTITY.findall(str(message.get("Message-ID", "")))), ""),
        answers=tuple(
            _IDENTITY.findall(f"{message.get('References', '')} {message.get('In-Reply-To', '')}")
        ),
        subject=_decode_header(message, "Subject"),
        sender=parseaddr(_decode_header(message, "From"))[1].lower(),
        text=_drop_quotes(_read_body([part for part in parts if part not in attached])),
        num_attachments=len(attached),
    )


def _decode_header(message: Message, name: str) -> str:
    raw = str(message.get(name, ""))[:2_000]
    try:
        return " ".join(str(make_header(decode_header(raw))).split())
    except (ValueError, LookupError):
        return " ".join(raw.split())


def _read_body(parts: list[Message]) -> str:
    """The plain text, or else the HTML."""
    for kind in ("text/plain", "text/html"):
        bodies = [_decode_part(part) for part in parts if part.get_content_type() == kind]
        if any(body.strip() for body in bodies):
            text = "\n\n".join(bodies)
            return text if kind == "text/plain" else convert_fragment(text)
    return ""


def _decode_part(part: Message) -> str:
    body = part.get_payload(decode=True)
    if not isinstance(body, bytes):
        return ""
    try:
        return body.decode(part.get_content_charset() or "utf-8")
    except (LookupError, UnicodeDecodeError):
        try:
            return decode_text(body)
        except UnreadableFile:
            return ""


def _drop_quotes(text: str) -> str:
    kept: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.rstrip() == "--" or _ORIGINAL.match(line):
            break
        if line.startswith(">"):
            while kept and (not kept[-1].strip() or _ATTRIBUTION.match(kept[-1].strip())):
                kept.pop()
            continue
        kept.append(line)
    return "\n".join(kept).strip()


def _tie_threads(mails: list[_Mail]) -> Iterator[list[_Mail]]:
    """Messages that answer each other, in the order of the box; by identity, else by subject."""
    threads: list[list[_Mail]] = []
    place: dict[str, int] = {}
    for mail in mails:
        is_reply = bool(mail.answers or _REPLY.match(mail.subject))
        subject = _REPLY.sub("", mail.subject).casefold()
        keys = [*mail.answers, *([f"subject {subject}"] if is_reply and subject else [])]
        number = next((place[key] for key in keys if key in place), len(threads))
        if number == len(threads):
            threads.append([])
            place[f"subject {subject}"] = number
        threads[number].append(mail)
        place |= dict.fromkeys(filter(None, [mail.identity, *mail.answers]), number)
    yield from threads


def _find_conversation(thread: list[_Mail]) -> Conversation | None:
    """Question and answer, if the first message asks and somebody else answers next."""
    first = thread[0]
    if len(thread) < 2 or thread[1].sender in ("", first.sender):
        return None
    if "?" not in first.subject + first.text or not all(mail.text for mail in thread[:2]):
        return None
    turns = [("user", f"{_REPLY.sub('', first.subject)}\n\n{first.text}")]
    for mail in thread[1:]:
        turns.append(("user" if mail.sender == first.sender else "assistant", mail.text))
    return tidy_conversation(turns)


def _format_mail(mail: _Mail) -> str:
    if not mail.text:
        return ""
    subject = _REPLY.sub("", mail.subject)
    return f"## {subject}\n\n{mail.text}" if subject else mail.text


def _remark(num_bad: int, num_attachments: int) -> str:
    parts = [f"{num_bad:,} messages could not be read"] if num_bad else []
    if num_attachments:
        parts.append(f"{num_attachments:,} attachments were not read: save them into the folder")
    return "; ".join(parts)

"""Records (rows of a table, objects of a JSON file) become conversations or lines of text.

A record with a question and an answer is a conversation, one that holds a text is that text. Any
other record becomes one line, `- Part number: X; Description: Y`, so that it can be learned alone
and is never cut in the middle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from appliance.documents.readers.extract import Conversation, Extract

QUESTIONS = (
    "question", "prompt", "query", "instruction", "customer question", "user", "q", "ask",
    "description", "problem", "issue", "message", "request", "symptom",
)  # fmt: skip
SUBJECTS = ("subject", "title", "summary", "topic")
ANSWERS = (
    "answer", "response", "completion", "output", "resolution", "solution", "reply",
    "assistant", "accepted answer", "best answer", "chosen", "a",
)  # fmt: skip
CONTEXTS = ("input", "context")
_CHATS = ("messages", "conversations", "conversation", "turns", "chat", "dialog", "dialogue")
_ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "customer": "user", "client": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "agent": "assistant",
    "support": "assistant", "model": "assistant", "ai": "assistant",
}  # fmt: skip
_MAX_DEPTH = 32
_TEXTS = ("text", "content", "body")
_BESIDE_TEXT = frozenset(("id", "title", "source", "url", "meta", "metadata", "date", "lang"))


def collect_records(records: Iterable[Any], remark: str = "") -> Extract:
    """Records of one file, each as what it is: a chat, a pair, a text, or a line of fields.

    Args:
        records: objects; anything else becomes a line.
        remark: what the owner should know about the file.
    """
    conversations: list[Conversation] = []
    pieces: list[str] = []
    for record in records:
        if not isinstance(record, Mapping):
            pieces.append(f"- {record}" if isinstance(record, str | int | float) else "")
            continue
        conversation = read_conversation(record)
        if conversation:
            conversations.append(conversation)
        else:
            pieces.append(_format_text(record) or format_record(record))
    text = "\n".join(piece for piece in pieces if piece)
    return Extract(text=text, conversations=tuple(conversations), remark=remark)


def read_conversation(record: Mapping[str, Any]) -> Conversation | None:
    """The conversation of a record, or None if it is not one."""
    named = {normalise_key(key): value for key, value in record.items()}
    for key in _CHATS:
        if isinstance(named.get(key), list):
            return _read_chat(_read_system(named) + named[key])
    prompt, answer = named.get("prompt", []), named.get("completion", named.get("chosen"))
    if isinstance(prompt, list) and isinstance(answer, list):  # both as messages
        return _read_chat(_read_system(named) + prompt + answer)
    return _read_pair(named)


def format_record(record: Mapping[str, Any]) -> str:
    """One line of text for a record; empty values are left out."""
    fields = [(_name_field(key), value) for key, value in _flatten(record)]
    return "- " + "; ".join(f"{key}: {value}" for key, value in fields) if fields else ""


def find_pair_columns(header: Sequence[str]) -> bool:
    """Whether a table with these columns holds questions and answers."""
    names = {normalise_key(name) for name in header}
    return bool(names & set(ANSWERS)) and bool(names & {*QUESTIONS, *SUBJECTS})


def normalise_key(key: object) -> str:
    """`Customer_Question ` and `customerQuestion` read alike."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(key))
    return " ".join(re.split(r"[\s_\-]+", words.strip().lower())).strip()


def tidy_conversation(turns: Iterable[tuple[str, str]]) -> Conversation | None:
    """Turns that alternate from the user on; None without an answer.

    Neighbours of the same role become one turn, a greeting before the first question goes, and so
    does what nobody answered at the end.
    """
    tidy: list[tuple[str, str]] = []
    for role, content in turns:
        content = content.strip()
        if not content or (role == "system" and tidy):
            continue
        if role == "assistant" and not any(seen == "user" for seen, _ in tidy):
            continue
        if tidy and tidy[-1][0] == role:
            tidy[-1] = (role, f"{tidy[-1][1]}\n\n{content}")
        else:
            tidy.append((role, content))
    while tidy and tidy[-1][0] != "assistant":
        tidy.pop()
    return tuple(tidy) if tidy else None


def _format_text(record: Mapping[str, Any]) -> str:
    """The text that a record is about, below its title; empty if it is about several fields."""
    for key in _TEXTS:
        text = record.get(key)
        is_document = len(record) == 1 or record.keys() <= {key, *_BESIDE_TEXT}
        if isinstance(text, str) and (is_document or len(text) > 200):  # else it is a field
            title = record.get("title")
            return (
                f"\n## {title}\n\n{text}\n" if isinstance(title, str) and title else f"\n{text}\n"
            )
    return ""


def _read_chat(messages: list[Any]) -> Conversation | None:
    turns = []
    for message in messages:
        if not isinstance(message, dict):
            return None
        role = str(message.get("role") or message.get("from") or message.get("speaker") or "")
        content = message.get("content", message.get("value", message.get("text", "")))
        known = _ROLES.get(role.strip().lower())
        if known and isinstance(content, str):
            turns.append((known, content))
        elif known and isinstance(content, list):
            turns.append((known, _join_parts(content)))
    return tidy_conversation(turns)


def _join_parts(parts: list[Any]) -> str:
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _read_pair(named: Mapping[str, Any]) -> Conversation | None:
    answer = _first(named, ANSWERS)
    subject, question = _first(named, SUBJECTS), _first(named, QUESTIONS)
    if not answer or not (question or subject):
        return None
    asked = [part for part in (subject, question, _first(named, CONTEXTS)) if part]
    system = [(turn["role"], turn["content"]) for turn in _read_system(named)]
    return tidy_conversation([*system, ("user", "\n\n".join(asked)), ("assistant", answer)])


def _read_system(named: Mapping[str, Any]) -> list[dict[str, str]]:
    """The instruction that stands beside the turns, as ShareGPT has it."""
    system = named.get("system")
    return [{"role": "system", "content": system}] if isinstance(system, str) else []


def _first(named: Mapping[str, Any], keys: Sequence[str]) -> str:
    for key in keys:
        value = named.get(key)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return ""


def _flatten(record: Mapping[str, Any], prefix: str = "", depth: int = 0) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    for key, value in record.items():
        name = f"{prefix} {key}".strip()
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            fields += _flatten(value, name, depth + 1)
        elif isinstance(value, list):
            items = [str(item) for item in value if isinstance(item, str | int | float)]
            fields += [(name, ", ".join(items))] if items else []
            for item in value if depth < _MAX_DEPTH else ():
                if isinstance(item, Mapping | list):
                    fields += _flatten({"": item}, name, depth + 1)
        elif value is not None and str(value).strip():
            fields.append((name, " ".join(str(value).split())))
    return fields


def _name_field(key: str) -> str:
    """`unit_price_eur` reads `Unit price eur`; names with capitals stay as they are."""
    words = " ".join(key.replace("_", " ").split())
    return words[:1].upper() + words[1:]

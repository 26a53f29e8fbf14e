"""Bytes to text: which encoding a text file has."""

from __future__ import annotations

import codecs

from charset_normalizer import from_bytes

from appliance.documents.readers.extract import UnreadableFile

_SAMPLE_BYTES = 65_536
_FEW_BYTES = 16
_STRANGE = "\ufffd" + "".join(char for char in map(chr, range(32)) if char not in "\t\n\r\f")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_text(data: bytes) -> str:
    """Decode a text file of unknown encoding.

    Raises:
        UnreadableFile: the bytes are not text.
    """
    text = _decode(data)
    if is_text(text):
        return text
    raise UnreadableFile(
        "the content is not text, whatever the name says",
        "export it as text, pdf or an office document",
    )


def is_text(text: str) -> bool:
    """Whether hardly any character of the beginning is a control or replacement character."""
    sample = text[:_SAMPLE_BYTES]
    return sum(map(sample.count, _STRANGE)) <= 0.05 * len(sample)


def _decode(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding, errors="replace")
    sixteen = _guess_utf16(data[:_SAMPLE_BYTES])
    if sixteen:
        return data.decode(sixteen, errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(_guess_legacy(data[:_SAMPLE_BYTES]), errors="replace")


def _guess_utf16(sample: bytes) -> str:
    """utf-16 without a mark: Latin text has a zero in every other byte."""
    if len(sample) < 4:
        return ""
    even, odd = sample[0::2].count(0) / len(sample[0::2]), sample[1::2].count(0) / len(sample[1::2])
    if odd > 0.4 and even < 0.05:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 and odd < 0.05 else ""


def _guess_legacy(sample: bytes) -> str:
    """The encoding of an old file; where several would do, the Windows one of Western Europe."""
    if sum(byte > 0x7F for byte in sample) < _FEW_BYTES:  # too few to tell languages apart
        return "cp1252"
    best = from_bytes(sample).best()
    if best is None:
        return "cp1252"
    return "cp1252" if "cp1252" in best.could_be_from_charset else best.encoding

"""Hostile containers: archives, office files, pdf, mail."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib

from tests.documents.hostile.texts import BILLION_LAUGHS, SENTENCE

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
    'relationships+xml"/><Override PartName="/word/document.xml" ContentType="application/vnd.'
    'openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
    'relationships/officeDocument" Target="word/document.xml"/>{more}</Relationships>'
)
BODY = (
    f'<w:document xmlns:w="{WORD}"><w:body><w:p><w:r><w:t>{{}}</w:t></w:r></w:p></w:body>'
    "</w:document>"
)


def make_containers() -> dict[str, bytes]:
    return make_zips() | make_office() | make_pdfs() | make_mails()


def pack(members: dict[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def pack_special(name: str, mode: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        item = zipfile.ZipInfo(name)
        item.external_attr = mode << 16
        archive.writestr(item, "/etc/passwd")
        archive.writestr("beside.md", SENTENCE)
    return buffer.getvalue()


def patch_headers(data: bytes, local: int, central: int, value: bytes) -> bytes:
    """The same archive with a field of every header replaced."""
    patched = bytearray(data)
    for mark, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        place = patched.find(mark)
        while place >= 0:
            patched[place + offset : place + offset + len(value)] = value
            place = patched.find(mark, place + 4)
    return bytes(patched)


def make_zips() -> dict[str, bytes]:
    plain = pack({"a.md": SENTENCE})
    zeros = pack({"zeros.txt": b"\0" * (50 * 2**20), "beside.md": SENTENCE})
    return {
        "slip.zip": pack({"../../slipped.md": SENTENCE, "beside.md": SENTENCE}),
        "backslash.zip": pack({"..\\..\\slipped.md": SENTENCE, "C:\\x.md": SENTENCE}),
        "absolute.zip": pack({"/tmp/slipped.md": SENTENCE}),
        "dots.zip": pack({"..": SENTENCE, ".": SENTENCE, "a/": ""}),
        "nested.zip": pack({"inner.zip": plain, "inner.tar.gz": b"\x1f\x8b", "a.md": SENTENCE}),
        "encrypted.zip": patch_headers(plain, 6, 8, b"\x01\x00"),
        "bomb.zip": zeros,
        "liar.zip": patch_headers(pack({"a.txt": "word " * 400_000}), 22, 24, struct.pack("<I", 9)),
        "overlap.zip": make_overlapping(),
        "crowd.zip": pack(dict.fromkeys((f"{n}.md" for n in range(2_500)), SENTENCE)),
        "link.zip": pack_special("passwd.md", stat.S_IFLNK | 0o777),
        "device.zip": pack_special("null.md", stat.S_IFCHR | 0o666),
        "names.zip": pack(
            {"new\nline \x1b[31m.md": SENTENCE + "1", "\u202egpj.md": SENTENCE + "2"}
        ),
        "lzma.zip": pack({"a.md": SENTENCE}, zipfile.ZIP_LZMA),
        "cut.zip": plain[:-30],
        "checksum.zip": patch_headers(plain, 14, 16, b"\x01\x02\x03\x04"),
        "nothing.zip": pack({}),
        "not_a.zip": SENTENCE.encode(),
        "mixed.zip": pack({"laughs.xml": BILLION_LAUGHS, "cut.pdf": b"%PDF-1.7", "a.md": SENTENCE}),
    }


def make_overlapping() -> bytes:
    """Many names for the same packed bytes: the central directory points to one place."""
    data = pack({"a.txt": b"word " * 2_000_000})
    directory = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = data[directory:end]
    tail = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 200, 200, 200 * len(entry), directory, 0)
    return data[:directory] + entry * 200 + tail


def make_docx(body: str, more: str = "", prologue: str = "") -> bytes:
    return pack(
        {
            "[Content_Types].xml": TYPES,
            "_rels/.rels": RELATIONS.format(more=more),
            "word/document.xml": prologue + BODY.format(body),
        }
    )


def make_office() -> dict[str, bytes]:
    laughs = BILLION_LAUGHS.partition("<x>")[0].replace("DOCTYPE x", "DOCTYPE w:document")
    external = '<!DOCTYPE w:document [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    remote = (
        '<Relationship Id="r2" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
        'relationships/attachedTemplate" Target="http://127.0.0.1:9/t.dotm" TargetMode="External"/>'
    )
    bomb = pack({"[Content_Types].xml": TYPES, "word/document.xml": b" " * (100 * 2**20)})
    return {
        "bomb.docx": bomb,
        "cut.docx": bomb[:4_000],
        "laughs.docx": make_docx("&l9;", prologue=laughs),
        "external.docx": make_docx("&e;", prologue=external),
        "template.docx": make_docx(SENTENCE, more=remote),
        "deep.docx": make_docx("</w:t><w:r>" * 20_000),
        "slip.docx": pack({"../../slipped.xml": "x", "word/document.xml": BODY.format(SENTENCE)}),
        "page.docx": f"<!DOCTYPE html><html><body><p>{SENTENCE}</p></body></html>".encode(),
        "cells.xlsx": make_sheet(
            '<dimension ref="A1:XFD1048576"/>',
            '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>far away</t></is></c></row>',
        ),
        "wide.xlsx": make_sheet(
            "", "<row r='1'>" + "<c t='inlineStr'><is><t>x</t></is></c>" * 16_384 + "</row>"
        ),
        "rows.xlsx": make_sheet("", "<row><c><v>1</v></c></row>" * 20_000),
        "strings.xlsx": make_sheet("", '<row r="1"><c r="A1" t="s"><v>999999999</v></c></row>'),
        "cut.pptx": b"PK\x03\x04" + bytes(500),
        "bomb.odt": pack({
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": b"<a>" + b" " * (100 * 2**20),
        }),
        "deep.odt": pack({
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": b"<a>" * 100_000,
        }),
        "slip.epub": pack({
            "mimetype": "application/epub+zip",
            "../../slipped.xhtml": f"<p>{SENTENCE}</p>",
        }),
        "locked.docx": make_ole("EncryptedPackage"),
        "noise.doc": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(range(256)) * 20,
        "loop.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(22) + b"\0" * 4_066,
    }  # fmt: skip


def make_sheet(dimension: str, rows: str) -> bytes:
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    related = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    return pack({
        "[Content_Types].xml": TYPES.replace("/word/document", "/xl/workbook").replace(
            "wordprocessingml.document.main", "spreadsheetml.sheet.main"
        ),
        "_rels/.rels": RELATIONS.replace("word/document", "xl/workbook").format(more=""),
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{related}"><sheets>'
        '<sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}"><Relationship Id="r1" '
        f'Type="{related}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}">{dimension}'
        f"<sheetData>{rows}</sheetData></worksheet>",
    })  # fmt: skip


def make_ole(stream: str) -> bytes:
    """The beginning of a compound file that names a stream, as an encrypted document does."""
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    header += struct.pack("<I", 0) + b"\xff" * (512 - len(header) - 4)
    table = struct.pack("<II", 0xFFFFFFFD, 0xFFFFFFFE).ljust(512, b"\xff")
    entries = b""
    for name, kind in (("Root Entry", 5), (stream, 2)):
        spelled = (name + "\0").encode("utf-16-le")
        entry = spelled.ljust(64, b"\0") + struct.pack("<HBB", len(spelled), kind, 1)
        entries += entry + struct.pack(
            "<III", 0xFFFFFFFF, 0xFFFFFFFF, 1 if kind == 5 else 0xFFFFFFFF
        )
        entries += bytes(48)
    return header + table + entries.ljust(512, b"\0")


def make_pdf(*objects: str | bytes, trailer: str = "") -> bytes:
    """Objects numbered from 1, the first being the catalogue, with a table of where they are."""
    data, places = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, start=1):
        places.append(len(data))
        body = each.encode() if isinstance(each, str) else each
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    ending = f"trailer << /Root 1 0 R /Size {len(objects) + 1} {trailer} >>\nstartxref\n{table}\n"
    return data + ending.encode() + b"%%EOF\n"


def make_stream(data: bytes, words: str = "") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), words.encode(), data)


def make_pdfs() -> dict[str, bytes]:
    catalogue, tree = "<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [{}] /Count {} >>"
    page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Resources << {} >> /Contents 4 0 R >>"
    font = "/Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"
    text = make_stream(b"BT /F 1 Tf (Words on a page of a document.) Tj ET")
    one = tree.format("3 0 R", 1)
    bomb = zlib.compress(zlib.compress(b" " * (200 * 2**20), 9), 9)
    image = "/Subtype /Image /Width 60000 /Height 60000 /BitsPerComponent 8 /ColorSpace /DeviceRGB"
    many = 3_000
    return {
        "cut.pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog",
        "no_pages.pdf": make_pdf(catalogue, tree.format("", 0)),
        "loop.pdf": make_pdf(catalogue, tree.format("2 0 R", 1)),
        "self.pdf": make_pdf("1 0 R"),
        "many_pages.pdf": make_pdf(
            catalogue,
            tree.format(" ".join(["3 0 R"] * many), many),
            page.format(font),
            text,
        ),
        "count.pdf": make_pdf(
            catalogue, tree.format("3 0 R", 2_000_000_000), page.format(font), text
        ),
        "locked.pdf": make_pdf(
            catalogue, one, page.format(font), text,
            "<< /Filter /Standard /V 1 /R 2 /P -4 /O <" + "41" * 32 + "> /U <" + "42" * 32 + "> >>",
            trailer="/Encrypt 5 0 R /ID [<41> <41>]",
        ),
        "flate.pdf": make_pdf(
            catalogue, one, page.format(font),
            make_stream(bomb, "/Filter [/FlateDecode /FlateDecode]"),
        ),
        "form.pdf": make_pdf(
            catalogue, one, page.format("/XObject << /X 5 0 R >>"), make_stream(b"/X Do"),
            make_stream(
                b"/X Do /X Do",
                "/Type /XObject /Subtype /Form /BBox [0 0 9 9] "
                "/Resources << /XObject << /X 5 0 R >> >>",
            ),
        ),
        "image.pdf": make_pdf(
            catalogue, one, page.format("/XObject << /X 5 0 R >>"), make_stream(b"/X Do"),
            make_stream(b"\0" * 100, f"/Type /XObject {image} /Filter /JBIG2Decode"),
        ),
        "deep.pdf": make_pdf("[" * 100_000),
        "script.pdf": make_pdf(
            "<< /Type /Catalog /Pages 2 0 R /OpenAction << /S /URI /URI (http://127.0.0.1:9) >> >>",
            one, page.format(font), text,
        ),
        "picture.pdf": b"\x89PNG\r\n\x1a\n" + bytes(300),
    }  # fmt: skip


def make_mails() -> dict[str, bytes]:
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(2_000)
    )
    start = b"From a@example.org Mon Mar  3 09:00:00 2025\n"
    good = start + b"Subject: Good\n\n" + SENTENCE.encode() + b"\n\n"
    attached = (
        b"From: a@example.org\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n"
        + SENTENCE.encode()
        + b'\n--b\nContent-Type: application/zip\nContent-Disposition: attachment; filename="b.zip"'
        + b"\nContent-Transfer-Encoding: base64\n\n"
        + b"QUFB" * 200_000
        + b"\n--b--\n"
    )
    return {
        "deep.mbox": good + start + deep,
        "charset.mbox": good
        + start
        + b"Content-Type: text/plain; charset=klingon\n\nwords\xff here",
        "headers.mbox": good + start + b"Subject: " + b"=?utf-8?q?=41?= " * 50_000 + b"\n\nwords",
        "postmarks.mbox": start * 50_000,
        "nobody.mbox": SENTENCE.encode(),
        "deep.eml": deep + SENTENCE.encode(),
        "attachment.eml": attached,
        "remote.eml": b"Content-Type: text/html\n\n<img src='http://127.0.0.1:9/x'>"
        + SENTENCE.encode(),
    }

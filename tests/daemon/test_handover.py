"""Folders as tar streams. Oracle: the files that went in, and `tarfile` for streams of our own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from appliance.daemon.handover import name_copy, take_folder, take_tar
from appliance.daemon.sending import write_tar
from appliance.errors import DiskFullError, ResourceError, ServiceError
from tests.conftest import ROOT


def read(folder):
    """Every file below a folder, by name."""
    return {
        os.fsencode(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def send(folder):
    output = io.BytesIO()
    num_left_out = write_tar(folder, output)
    return output.getvalue(), num_left_out


def take(data, target, keep_free_bytes=0):
    return take_folder(io.BytesIO(data), target, keep_free_bytes=keep_free_bytes)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "documents"
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "one.txt").write_bytes(b"one")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "deep" / "deeper" / "large.bin").write_bytes(os.urandom(300_000))
    (folder / os.fsdecode("Übersicht \u202e\n".encode() + b"\xff.txt")).write_bytes(b"odd name")
    (folder / ("n" * 255)).write_bytes(b"long name")
    os.utime(folder / "one.txt", (1_000, 2_000))
    return folder


def make_tar(*members, end=True):
    """A stream with these members: (name, data) or a TarInfo."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member, io.BytesIO(b"x" * member.size))
                continue
            name, data = member
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if end:
            last = tarfile.TarInfo(".")
            last.type = tarfile.DIRTYPE
            tar.addfile(last)
    return output.getvalue()


def make_member(name, kind, size=0, **about):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    for key, value in about.items():
        setattr(info, key, value)
    return info


def test_folder_arrives_as_it_was(folder, tmp_path):
    data, num_left_out = send(folder)

    num_files = take(data, tmp_path / "copy")

    assert read(tmp_path / "copy") == read(folder)
    assert (num_files, num_left_out) == (5, 0)
    assert (tmp_path / "copy" / "one.txt").stat().st_mtime == 2_000
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700


def test_empty_folder_arrives_empty(tmp_path):
    (tmp_path / "none").mkdir()
    data, _ = send(tmp_path / "none")

    assert take(data, tmp_path / "copy") == 0
    assert read(tmp_path / "copy") == {}


def test_new_copy_takes_the_place_of_the_old(folder, tmp_path):
    take(make_tar(("old.txt", b"old")), tmp_path / "copy")

    take(send(folder)[0], tmp_path / "copy")

    assert read(tmp_path / "copy") == read(folder)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_links_and_devices_are_left_out_and_counted(folder, tmp_path):
    before = read(folder)
    (folder / "link.txt").symlink_to("/etc/passwd")
    (folder / "folder-link").symlink_to("/etc")
    os.mkfifo(folder / "pipe")

    data, num_left_out = send(folder)

    take(data, tmp_path / "copy")
    assert read(tmp_path / "copy") == before
    assert num_left_out == 3


@pytest.mark.parametrize(
    "member",
    [
        ("../escaped.txt", b"x"),
        ("deep/../../escaped.txt", b"x"),
        ("/escaped.txt", b"x"),
        ("", b"x"),
        make_member("link", tarfile.SYMTYPE, linkname="/etc/passwd"),
        make_member("link", tarfile.LNKTYPE, linkname="../escaped.txt"),
        make_member("pipe", tarfile.FIFOTYPE),
        make_member("null", tarfile.CHRTYPE, devmajor=1, devminor=3),
        make_member("folder", tarfile.DIRTYPE),
        make_member("sparse", tarfile.GNUTYPE_SPARSE),
    ],
    ids=[
        "up", "up-later", "absolute", "nameless", "symlink", "hardlink", "pipe", "device",
        "folder", "sparse",
    ],
)  # fmt: skip
def test_stream_with_anything_but_plain_files_is_refused(tmp_path, member):
    with pytest.raises(ServiceError):
        take(make_tar(("good.txt", b"x"), member), tmp_path / "inner" / "copy")

    assert not (tmp_path / "escaped.txt").exists()
    assert list((tmp_path / "inner").iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        make_tar(("a", b"1"), ("a", b"2")),
        make_tar(("a", b"1"), ("a/b", b"2")),
        make_tar(("a/b", b"1"), ("a", b"2")),
        make_tar(("n" * 256, b"1")),
        make_tar(("a", b"1"), make_member("b", tarfile.REGTYPE, mtime=10**30)),
        make_tar(make_member("b", tarfile.REGTYPE, pax_headers={"mtime": "nan"})),
        make_tar(make_member("b", tarfile.REGTYPE, pax_headers={"path": "a\0b"})),
        make_tar(("a", b"1"), end=False),
        make_tar(("a", b"1"), end=False) + b"\xff" * 10240,
        make_tar()[:100],
        b"",
        b"PK\x03\x04" + b"\0" * 2000,
        b"\x1f\x8b" + b"\0" * 2000,
    ],
    ids=[
        "twice", "file-as-folder", "folder-as-file", "name-too-long", "far-future", "no-time",
        "nul-in-name", "no-end", "rubbish-after", "cut", "nothing", "zip", "gzip",
    ],
)  # fmt: skip
def test_hostile_or_broken_stream_is_refused_and_leaves_nothing(tmp_path, data):
    with pytest.raises((ServiceError, ResourceError)):
        take(data, tmp_path / "inner" / "copy")

    assert list((tmp_path / "inner").iterdir()) == []


def test_stream_cut_anywhere_is_noticed(folder, tmp_path):
    data, _ = send(folder)
    whole = len(data.rstrip(b"\0"))

    for length in range(0, whole, 512):  # members begin at multiples of this
        with pytest.raises(ServiceError, match="did not arrive whole"):
            take(data[:length], tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_cut_stream_leaves_the_old_copy(folder, tmp_path):
    take(make_tar(("old.txt", b"old")), tmp_path / "copy")

    with pytest.raises(ServiceError):
        take(send(folder)[0][:2048], tmp_path / "copy")

    assert read(tmp_path / "copy") == {b"old.txt": b"old"}


def test_header_that_would_fill_the_memory_is_refused(tmp_path):
    bomb = make_member("a", tarfile.XHDTYPE, size=2**33).tobuf()

    class Endless(io.RawIOBase):
        """The header, then zeros for ever."""

        def __init__(self):
            self.rest, self.num_bytes = bomb, 0

        def read(self, size=-1):
            block, self.rest = self.rest[:size], self.rest[size:]
            self.num_bytes += size
            assert self.num_bytes < 2**24, "it swallows all that comes"
            return block + b"\0" * (size - len(block))

    with pytest.raises(ServiceError):
        take_folder(Endless(), tmp_path / "copy", keep_free_bytes=0)


def test_endless_chain_of_headers_is_refused(tmp_path):
    link = make_member("a", tarfile.XHDTYPE, size=0).tobuf()

    with pytest.raises(ServiceError):
        take(link * 5000, tmp_path / "copy")


def test_folder_that_does_not_fit_is_refused_before_it_is_written(tmp_path):
    member = make_member("huge.bin", tarfile.REGTYPE, size=2**50).tobuf()

    with pytest.raises(DiskFullError) as caught:
        take(member + b"\0" * 10240, tmp_path / "copy")

    assert "1024 TiB are needed" in caught.value.why


def test_disk_that_must_stay_free_stays_free(tmp_path):
    with pytest.raises(DiskFullError):
        take(make_tar(("a", b"1")), tmp_path / "copy", keep_free_bytes=2**60)


TMPFS = """
import io, os, sys, tarfile
from pathlib import Path
from appliance.daemon import handover
from appliance.errors import DiskFullError

handover._require_room = lambda folder, num_bytes: None  # others fill the disk while it arrives
data = Path(sys.argv[2]).read_bytes()
try:
    handover.take_folder(io.BytesIO(data), Path(sys.argv[1]) / "copy", keep_free_bytes=0)
except DiskFullError as exc:
    print(exc.what, list(Path(sys.argv[1]).iterdir()))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_disk_that_fills_up_while_it_arrives_is_told_and_emptied(folder, tmp_path):
    (tmp_path / "stream").write_bytes(send(folder)[0])
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=64k none {disk}"

    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh",
         sys.executable, "-c", TMPFS, disk, tmp_path / "stream"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip

    assert done.stdout == "there is no room for a copy of this folder []\n", done.stderr


def test_file_that_shrinks_while_it_is_sent_stops_the_stream(folder):
    large = folder / "deep" / "deeper" / "large.bin"

    class Output(io.BytesIO):
        def write(self, block):
            os.truncate(large, 10)
            return super().write(block)

    with pytest.raises(ServiceError, match="changed while it was sent"):
        write_tar(folder, Output())


def test_file_that_grows_while_it_is_sent_arrives_as_it_began(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "log.txt").write_bytes(b"a" * 50_000)

    class Output(io.BytesIO):
        def write(self, block):
            with (folder / "log.txt").open("ab") as log:
                log.write(b"b")
            return super().write(block)

    output = Output()
    write_tar(folder, output)
    take(output.getvalue(), tmp_path / "copy")

    assert read(tmp_path / "copy") == {b"log.txt": b"a" * 50_000}


def test_file_that_vanishes_while_others_are_sent_is_left_out(folder, tmp_path):
    (folder / "first.bin").write_bytes(b"x" * 50_000)

    class Output(io.BytesIO):
        def write(self, block):
            (folder / "one.txt").unlink(missing_ok=True)
            return super().write(block)

    output = Output()
    assert write_tar(folder, output) == 1
    assert take(output.getvalue(), tmp_path / "copy") == 5


def test_bundle_is_never_put_over_something(tmp_path):
    with pytest.raises(ServiceError, match="is there already"):
        take_tar(io.BytesIO(make_tar()), tmp_path)
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(ServiceError, match="is there already"):
        take_tar(io.BytesIO(make_tar()), tmp_path / "dangling")


def test_bundle_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ResourceError, match="cannot write"):
        take_tar(io.BytesIO(make_tar(("a", b"1"))), tmp_path / "file" / "bundle")


def test_bytes_of_a_bundle_are_counted(tmp_path):
    data = make_tar(("a", b"123"), ("b/c", b"45"))

    assert take_tar(io.BytesIO(data), tmp_path / "new" / "bundle") == 5


@pytest.mark.parametrize("source", ["/", "..", "/srv/../..", "/a/" + "n" * 255, "/ü/\udcff"])
def test_copy_has_a_plain_name_below_its_folder(source):
    name = name_copy(source)

    assert Path(name).name == name
    assert name.isascii() and len(name) <= 41


def test_copies_of_two_folders_of_one_name_lie_apart():
    assert name_copy("/a/documents") != name_copy("/b/documents")

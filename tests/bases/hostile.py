"""Imports that must be refused, made by hand: each is a valid model with one thing wrong.

`CASES` maps a name to what makes the source, and words of the reason that must be given.
"""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.bases.model_folder import CONFIG, write_model, write_shards

MIB = 2**20
Maker = Callable[[Path], Path]
CASES: dict[str, tuple[Maker, str]] = {}


def case(reason: str) -> Callable[[Maker], Maker]:
    """Keep a maker under its own name, with the words of its reason."""

    def keep(maker: Maker) -> Maker:
        CASES[maker.__name__] = (maker, reason)
        return maker

    return keep


def add_file(name: str, reason: str, file: str, content: str | bytes) -> None:
    """A case that adds or replaces one file of a folder."""

    def make(folder: Path) -> Path:
        path = write_model(folder / "model") / file
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder / "model"

    CASES[name] = (make, reason)


def pack_weights(rows: dict[str, dict], num_bytes: int) -> bytes:
    header = json.dumps(rows).encode()
    return struct.pack("<Q", len(header)) + header + bytes(num_bytes)


def row(begin: int, end: int) -> dict:
    return {"dtype": "U8", "shape": [abs(end - begin)], "data_offsets": [begin, end]}


def config(**changes: object) -> str:
    return json.dumps(CONFIG | changes)


# ---- folders: one file is wrong --------------------------------------------------------------

add_file("script", "brings its own code", "modeling_odd.py", "raise SystemExit")
add_file("script_below", "brings its own code", "custom_generate/generate.py", "raise SystemExit")
add_file("script_in_capitals", "brings its own code", "SETUP.PY", "raise SystemExit")
add_file("auto_map", "config.json has the key 'auto_map'", "config.json", config(auto_map={}))
add_file(
    "auto_map_deep",
    "config.json has the key 'auto_map'",
    "config.json",
    config(vision_config={"x": [{"auto_map": {}}]}),
)
add_file(
    "auto_map_of_tokenizer",
    "tokenizer_config.json has the key 'auto_map'",
    "tokenizer_config.json",
    json.dumps({"auto_map": {"AutoTokenizer": ["odd.Odd", None]}}),
)
add_file(
    "custom_pipelines", "the key 'custom_pipelines'", "config.json", config(custom_pipelines={})
)
add_file(
    "trust_remote_code", "the key 'trust_remote_code'", "config.json", config(trust_remote_code=1)
)
add_file("unknown_type", "unknown architecture", "config.json", config(model_type="lightglue"))
add_file(
    "unknown_class", "unknown architecture", "config.json", config(architectures=["OddForCausalLM"])
)
add_file("no_class", "names no architecture", "config.json", config(architectures=[]))
add_file("quantized", "quantized already", "config.json", config(quantization_config={"bits": 4}))
add_file("endless_config", "nested too deeply", "config.json", '{"a":' * 50_000 + "1")
add_file("huge_config", "config.json that is too large", "config.json", config(x="x" * 2 * MIB))
add_file("config_is_a_list", "top level is a list", "config.json", "[]")
add_file("huge_number", "cannot be read", "config.json", '{"vocab_size": ' + "9" * 6000 + "}")
add_file(
    "billion_layers", "num_hidden_layers", "config.json", config(num_hidden_layers=1_000_000_000)
)
add_file("more_layers", "does not hold the whole model", "config.json", config(num_hidden_layers=3))
add_file("less_layers", "holds more layers", "config.json", config(num_hidden_layers=1))
add_file("other_shape", "config.json asks for", "config.json", config(vocab_size=17))
add_file(
    "huge_template",
    "chat template",
    "tokenizer_config.json",
    '{"chat_template": "%s"}'.replace("%s", "x" * 200_000),
)
add_file(
    "huge_template_file",
    "chat_template.jinja that is too large",
    "chat_template.jinja",
    "x" * 200_000,
)
add_file("text_as_weights", "is damaged", "model.safetensors", "this is no safetensors file")
add_file("pickle_as_weights", "is damaged", "model.safetensors", b"\x80\x04\x95" + bytes(500))
add_file(
    "offsets_leave_the_file",
    "its header describes",
    "model.safetensors",
    pack_weights({"a": row(0, 2**40)}, 8),
)
add_file(
    "offsets_overlap",
    "overlap at byte 4",
    "model.safetensors",
    pack_weights({"a": row(0, 8), "b": row(4, 12)}, 12),
)
add_file(
    "offsets_below_zero",
    "does not describe tensors",
    "model.safetensors",
    pack_weights({"a": row(-8, 8)}, 8),
)
add_file(
    "endless_header", "its header would take", "model.safetensors", struct.pack("<Q", 2**63) + b"{}"
)


@case("weights in pickle files only")
def pickle_alone(folder: Path) -> Path:
    (write_model(folder) / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder


@case("has no tokenizer.json")
def no_tokenizer(folder: Path) -> Path:
    (write_model(folder) / "tokenizer.json").unlink()
    return folder


@case("has no weights")
def no_weights(folder: Path) -> Path:
    (write_model(folder) / "model.safetensors").unlink()
    return folder


@case("the file has")
def cut_weights(folder: Path) -> Path:
    path = write_model(folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    return folder


@case("is missing")
def missing_shard(folder: Path) -> Path:
    (write_shards(folder) / "model-00002-of-00002.safetensors").unlink()
    return folder


@case("no file of this folder")
def index_leads_out(folder: Path) -> Path:
    index = write_shards(folder) / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../secret.safetensors"}}))
    return folder


@case("holds a link")
def link_to_secret(folder: Path) -> Path:
    (write_model(folder) / "README.md").symlink_to("/etc/passwd")
    return folder


@case("holds a link")
def linked_folder(folder: Path) -> Path:
    (write_model(folder) / "more").symlink_to("/etc")
    return folder


@case("holds a special file")
def pipe(folder: Path) -> Path:
    os.mkfifo(write_model(folder) / "README.md")
    return folder


@case("tokenizer.json that is too large")
def huge_tokenizer(folder: Path) -> Path:
    with (write_model(folder) / "tokenizer.json").open("r+b") as file:
        file.truncate(65 * MIB)  # sparse: takes no disk
    return folder


@case("holds more than one model")
def two_models(folder: Path) -> Path:
    write_model(folder / "first")
    write_model(folder / "second")
    return folder


@case("holds no model")
def empty_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


@case("is not there")
def nothing(folder: Path) -> Path:
    return folder / "nothing"


# ---- archives --------------------------------------------------------------------------------


def zip_model(folder: Path, *extra: tuple[str, bytes]) -> Path:
    """A valid model in a zip, and further entries."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(write_model(folder).iterdir()):
            archive.write(file, f"model/{file.name}")
        for name, data in extra:
            info = zipfile.ZipInfo(name)
            info.filename = name  # as it is: ZipInfo would mend it
            archive.writestr(info, data)
    return path


def tar_model(folder: Path, *members: tarfile.TarInfo, mode: str = "w") -> Path:
    """A valid model in a tar, and further members without content."""
    path = folder.with_suffix(".tar")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(write_model(folder), "model")
        for member in members:
            archive.addfile(member)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def add_zip(name: str, reason: str, *extra: tuple[str, bytes]) -> None:
    CASES[name] = (lambda folder: zip_model(folder, *extra), reason)


def add_tar(name: str, reason: str, *members: tarfile.TarInfo) -> None:
    CASES[name] = (lambda folder: tar_model(folder, *members), reason)


LEADS_OUT = "names a file that leads elsewhere"
add_zip("zip_climbs", LEADS_OUT, ("../../canary", b"x"))
add_zip("zip_climbs_inside", LEADS_OUT, ("model/../../canary", b"x"))
add_zip("zip_absolute", LEADS_OUT, ("/tmp/canary", b"x"))
add_zip("zip_backslash", LEADS_OUT, ("..\\canary", b"x"))
add_zip("zip_drive", LEADS_OUT, ("C:canary", b"x"))
add_zip("zip_nul", LEADS_OUT, ("model/README.md\0.txt", b"x"))
add_zip("zip_escape", LEADS_OUT, ("model/\x1b[2J", b"x"))
add_zip("zip_script", "brings its own code", ("model/odd.py", b"x"))
add_tar("tar_climbs", LEADS_OUT, member("../../canary"))
add_tar("tar_absolute", LEADS_OUT, member("/tmp/canary"))
add_tar("tar_newline", LEADS_OUT, member("model/a\nb"))
add_tar("tar_link", "holds a link", member("model/LICENSE", tarfile.SYMTYPE, "/etc/passwd"))
add_tar(
    "tar_hard_link", "holds a hard link", member("model/LICENSE", tarfile.LNKTYPE, "/etc/passwd")
)
add_tar("tar_device", "holds a special file", member("model/zero", tarfile.CHRTYPE))
add_tar("tar_disk", "holds a special file", member("model/disk", tarfile.BLKTYPE))
add_tar("tar_pipe", "holds a special file", member("model/pipe", tarfile.FIFOTYPE))
add_tar("tar_sparse", "holds a special file", member("model/sparse", tarfile.GNUTYPE_SPARSE))
add_tar("tar_twice", "names a file twice", member("model/config.json"))


@case("holds a link")
def zip_link(folder: Path) -> Path:
    path = zip_model(folder)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("model/LICENSE")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return path


@case("names a file twice")
def zip_twice(folder: Path) -> Path:
    path = zip_model(folder, ("model/config.jsoX", b"{}"))
    return _rewrite(path, path.read_bytes().replace(b"config.jsoX", b"config.json"))


@case("holds an encrypted file")
def zip_encrypted(folder: Path) -> Path:
    path = zip_model(folder)
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + 8] |= 1  # general purpose flag, bit 0
    return _rewrite(path, bytes(data))


@case("is packed in a way that is not read here")
def zip_bzip2(folder: Path) -> Path:
    path = zip_model(folder)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("model/LICENSE", "x" * 100)
    return path


@case("unpacks to more than a model could")
def zip_bomb(folder: Path) -> Path:
    path = zip_model(folder)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("model/model-00001-of-00001.safetensors", "w") as entry,
    ):
        for _ in range(80):
            entry.write(bytes(MIB))
    with zipfile.ZipFile(path) as archive:
        kept = [info for info in archive.infolist() if info.filename != "model/model.safetensors"]
        content = {info.filename: archive.read(info) for info in kept}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@case("the archive is damaged")
def zip_lies_about_size(folder: Path) -> Path:
    """The directory says 10 bytes, the entry unpacks to 100 kB."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(write_model(folder).iterdir()):
            archive.write(file, file.name)
        archive.writestr("LICENSE", bytes(100_000))
    data = path.read_bytes()
    size = struct.pack("<I", 100_000)
    place = data.rindex(size)
    return _rewrite(path, data[:place] + struct.pack("<I", 10) + data[place + 4 :])


@case("the archive is damaged")
def zip_flipped(folder: Path) -> Path:
    path = zip_model(folder)
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("model/config.json").header_offset + 60
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    return _rewrite(path, bytes(data))


@case("cannot be read")
def zip_without_directory(folder: Path) -> Path:
    path = zip_model(folder)
    data = path.read_bytes()
    end = data.index(b"PK\x05\x06")
    return _rewrite(path, data[: data.index(b"PK\x01\x02")] + data[end:])


@case("holds too many files")
def zip_flood(folder: Path) -> Path:
    return zip_model(folder, *((f"model/{number}", b"") for number in range(10_001)))


@case("unpacks to more than a model could")
def gzip_bomb(folder: Path) -> Path:
    path = folder.with_suffix(".tar.gz")
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        archive.add(write_model(folder), "model")
        info = tarfile.TarInfo("model/model-00001-of-00001.safetensors")
        info.size = 100 * MIB
        archive.addfile(info, _Zeros(info.size))
    return path


@case("a header of more than any header needs")
def tar_header_flood(folder: Path) -> Path:
    """An extended header that wants 16 MiB of memory; a real one would want all there is."""
    path = tar_model(folder)
    info = member("x", tarfile.XHDTYPE)
    info.size = 16 * MIB
    data = info.tobuf() + bytes(16 * MIB)
    return _rewrite(path, data + path.read_bytes())


@case("the archive is damaged")
def gzip_cut(folder: Path) -> Path:
    path = tar_model(folder, mode="w:gz")
    return _rewrite(path, path.read_bytes()[:-200])


@case("is no archive that is read here")
def tar_xz(folder: Path) -> Path:
    return tar_model(folder, mode="w:xz")


@case("is no archive that is read here")
def random_bytes(folder: Path) -> Path:
    path = folder.with_suffix(".tar")
    path.write_bytes(bytes(range(256)) * 64)
    return path


@case("holds no model")
def archive_in_archive(folder: Path) -> Path:
    inner = zip_model(folder)
    path = folder.with_suffix(".outer.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, "model.zip")
    return path


def _rewrite(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


class _Zeros(io.RawIOBase):
    """A file of zeros that takes no memory."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        size = min(self.left, size if size >= 0 else self.left)
        self.left -= size
        return bytes(size)

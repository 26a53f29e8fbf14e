"""Imports. Oracle: safetensors' own files, hashlib, and what must not be there afterwards."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from random import Random

import pytest

from appliance.bases.catalogue import find_bases, find_place, read_place
from appliance.bases.importing import Offer, add_base
from appliance.bases.known import find_known
from appliance.bases.manifest import MANIFEST, verify_place
from appliance.bases.store import list_stored, remove_stored, sweep_store
from appliance.errors import (
    ApplianceError,
    BaseModelError,
    BusyError,
    InterruptedRun,
    ResourceError,
    UsageError,
)
from tests.bases.hostile import CASES
from tests.bases.model_folder import write_model, write_shards, write_sparse_model
from tests.conftest import ROOT


def agree(offer: Offer) -> bool:
    return True


def list_rest(store: Path) -> list[str]:
    """What lies in a store, but for its lock."""
    return sorted(path.name for path in store.glob("*") if path.name != ".lock")


def pack(folder: Path, kind: str) -> Path:
    path = folder.parent / f"tiny.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in folder.iterdir():
                archive.write(file, f"some/where/{file.name}")
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as archive:
            archive.add(folder, ".")
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz"])
def test_source_is_copied_byte_by_byte_with_hashes(tmp_path, store, kind):
    folder = write_shards(tmp_path / "source" / "tiny")
    path = folder if kind == "folder" else pack(folder, kind)

    manifest = add_base(path, store, agree)

    assert manifest.name == "tiny"
    assert list_rest(store) == ["tiny"]
    wanted = {file.name: file.read_bytes() for file in folder.iterdir()}
    kept = {file.name: file.read_bytes() for file in (store / "tiny").iterdir()}
    assert {name: kept[name] for name in wanted} == wanted
    assert kept.keys() - wanted.keys() == {MANIFEST}
    assert {file.name: file.sha256 for file in manifest.files} == {
        name: hashlib.sha256(data).hexdigest() for name, data in wanted.items()
    }
    assert verify_place(find_place("tiny")) == manifest.files


def test_hard_link_outside_becomes_a_copy(tmp_path, store):
    folder = write_model(tmp_path / "tiny")
    os.link(folder / "model.safetensors", tmp_path / "other-name")
    add_base(folder, store, agree)
    assert (store / "tiny" / "model.safetensors").stat().st_nlink == 1


def test_what_is_not_the_model_is_left_out_and_said(tmp_path, store):
    folder = write_model(tmp_path / "tiny")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "notes.txt").write_text("private")
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.00.pth").write_bytes(b"pickle")
    (folder / ".gitattributes").write_text("")
    told = []

    add_base(folder, store, lambda offer: told.append(offer) or True)

    left_out = {row.name: row.reason for row in told[0].left_out}
    assert left_out == {
        "notes.txt": "it is not needed",
        "original/consolidated.00.pth": "it lies in another folder",
        "pytorch_model.bin": "a pickle can run any program; the safetensors beside it are taken",
    }
    names = {path.name for path in (store / "tiny").iterdir()}
    assert names == {"config.json", "tokenizer.json", "model.safetensors", MANIFEST}


def test_offer_tells_what_came_and_its_licence(tmp_path, store):
    (write_model(tmp_path / "tiny") / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    told = []
    add_base(tmp_path / "tiny", store, lambda offer: told.append(offer) or True)
    (offer,) = told
    assert offer.terms.commercial == "no"
    assert offer.spec.architecture == "LlamaForCausalLM"
    assert offer.num_bytes == sum(path.stat().st_size for path in (tmp_path / "tiny").iterdir())


def test_no_leaves_nothing(tmp_path, store):
    with pytest.raises(InterruptedRun):
        add_base(write_model(tmp_path / "tiny"), store, lambda offer: False)
    assert list_rest(store) == []


def test_folder_of_a_known_name_and_shape_gets_its_hub_name(tmp_path, store):
    known = find_known("HuggingFaceTB/SmolLM2-135M")
    folder = write_sparse_model(tmp_path / "smollm2-135m", known.architecture, known.config)
    told = []
    manifest = add_base(folder, store, lambda offer: told.append(offer) or True)
    assert manifest.name == "HuggingFaceTB/SmolLM2-135M"
    assert manifest.licence == "apache-2.0"  # the folder states none
    assert told[0].spec.num_parameters == known.num_parameters


def test_known_name_alone_is_not_enough(tmp_path, store):
    folder = write_model(tmp_path / "SmolLM2-135M")
    assert add_base(folder, store, agree).name == "SmolLM2-135M"
    with pytest.raises(BaseModelError) as caught:
        add_base(folder, store, agree, name="HuggingFaceTB/SmolLM2-135M")
    assert caught.value.what == "the source is not HuggingFaceTB/SmolLM2-135M"
    assert caught.value.why == "its layers: 2, not 30"


@pytest.mark.parametrize("name", CASES)
def test_hostile_source_is_refused_with_its_reason_and_leaves_nothing(name, tmp_path, store):
    make, reason = CASES[name]
    canary = tmp_path / "canary"
    canary.write_text("untouched")
    (tmp_path / "hostile").mkdir()
    path = make(tmp_path / "hostile" / "source")
    before = set(tmp_path.rglob("*"))

    with pytest.raises(BaseModelError) as caught:
        add_base(path, store, agree)

    error = caught.value
    assert reason in f"{error.what}: {error.why}"
    assert error.fix
    assert "\x1b" not in str(error)  # a name cannot draw on the terminal
    assert list_rest(store) == []
    home = store.parent
    added = set(tmp_path.rglob("*")) - before
    assert {path for path in added if home not in (path, *path.parents)} == set()
    assert canary.read_text() == "untouched"
    assert find_bases().specs[0].name == "embedded"


def test_there_are_enough_hostile_sources():
    assert len(CASES) >= 60
    assert len({reason for _, reason in CASES.values()}) >= 30


@pytest.mark.parametrize(
    "name",
    [
        "../up",
        "/etc",
        "a/b/c",
        "",
        ".",
        "..",
        "a..b",
        "a--b",
        ".hidden",
        "x" * 200,
        "a b",
        "embedded",
    ],
)
def test_name_that_could_lead_elsewhere_is_refused(name, tmp_path, store):
    with pytest.raises(UsageError, match="cannot be the name of a base"):
        add_base(write_model(tmp_path / "tiny"), store, agree, name=name)
    assert list_rest(store) == []


def test_name_that_is_taken_is_refused_and_the_old_base_stays(tmp_path, store):
    add_base(write_model(tmp_path / "tiny"), store, agree)
    before = (store / "tiny" / MANIFEST).read_bytes()
    with pytest.raises(UsageError) as caught:
        add_base(tmp_path / "tiny", store, agree)
    assert "appliance bases remove tiny" in caught.value.fix
    assert (store / "tiny" / MANIFEST).read_bytes() == before
    assert list_rest(store) == ["tiny"]


def test_disk_that_is_too_small_is_said_before_a_byte_is_copied(tmp_path, store):
    folder = write_model(tmp_path / "tiny")
    with (folder / "model-00001-of-00001.safetensors").open("wb") as file:
        file.truncate(2**43)  # sparse: takes no disk
    (folder / "model.safetensors").unlink()
    with pytest.raises(ResourceError) as caught:
        add_base(folder, store, agree)
    assert "8.0 TiB are to be copied" in caught.value.why
    assert list_rest(store) == []


def test_source_that_grows_while_it_is_copied_is_refused(tmp_path, store):
    folder = write_model(tmp_path / "tiny")
    (folder / "README.md").write_text("short")

    def grow(done: int, total: int) -> None:
        with (folder / "tokenizer.json").open("a") as file:
            file.write(" ")

    with pytest.raises(BaseModelError, match="changed while it was copied"):
        add_base(folder, store, agree, on_progress=grow)
    assert list_rest(store) == []


def test_second_import_is_told_to_wait(tmp_path, store):
    folder = write_model(tmp_path / "tiny")

    def add_another(offer: Offer) -> bool:
        with pytest.raises(BusyError, match="adds or removes a base"):
            add_base(folder, store, agree, name="another")
        return True

    add_base(folder, store, add_another)
    assert list_rest(store) == ["tiny"]


KILLED = """
import os, signal, sys
from pathlib import Path
from random import Random
from appliance.bases.importing import add_base
count = 0
def kill(done, total):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
def kill_at_the_end(offer):
    os.kill(os.getpid(), signal.SIGKILL)
add_base(Path(sys.argv[1]), Path(sys.argv[2]), kill_at_the_end, on_progress=kill)
"""


@pytest.mark.parametrize("moment", [1, 2, 3, 99])
def test_killed_import_is_not_seen_and_its_rest_goes_away(tmp_path, store, moment):
    folder = write_model(tmp_path / "tiny")
    command = [sys.executable, "-c", KILLED, str(folder), str(store), str(moment)]

    done = subprocess.run(command, cwd=ROOT, timeout=60, check=False)

    assert done.returncode == -signal.SIGKILL
    assert list_stored(store) == []
    assert [spec.name for spec in find_bases().specs] == ["embedded"]
    assert list_rest(store) == [".partial-import"]
    sweep_store(store)
    assert list_rest(store) == []
    assert add_base(folder, store, agree).name == "tiny"


def test_store_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot write to"):
        add_base(write_model(tmp_path / "tiny"), tmp_path / "file" / "bases", agree)


def test_flipped_bit_anywhere_is_found(tmp_path, store):
    add_base(write_model(tmp_path / "tiny"), store, agree)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        path = store / "tiny" / name
        data = path.read_bytes()
        for place in (0, len(data) // 2, len(data) - 1):
            changed = bytearray(data)
            changed[place] ^= 1
            path.write_bytes(bytes(changed))
            with pytest.raises(BaseModelError, match="is not what was brought here") as caught:
                verify_place(find_place("tiny"))
            assert name in caught.value.why
        path.write_bytes(data)
    assert len(verify_place(find_place("tiny"))) == 3


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda folder: (folder / "more.txt").write_text("x"), "'more.txt' is there, and was not"),
        (lambda folder: (folder / "config.json").write_text("{}"), "config.json has 2 bytes"),
        (
            lambda folder: os.link(folder / "config.json", folder.parent / "second-name"),
            "config.json has another name",
        ),
        (
            lambda folder: (
                shutil.move(folder / "config.json", folder / "copy"),
                (folder / "config.json").symlink_to("copy"),
            ),
            "was not imported",
        ),
    ],
)
def test_change_of_an_imported_base_is_found(tmp_path, store, change, why):
    add_base(write_model(tmp_path / "tiny"), store, agree)
    change(store / "tiny")
    with pytest.raises(BaseModelError) as caught:
        verify_place(find_place("tiny"))
    assert why in caught.value.why


def test_embedded_base_is_what_was_shipped():
    place = find_place("embedded")
    files = {file.name: file.sha256 for file in verify_place(place)}
    assert files["model.safetensors"] == (
        hashlib.sha256((place.folder / "model.safetensors").read_bytes()).hexdigest()
    )
    assert read_place(place).licence == "apache-2.0"


def test_base_that_was_not_imported_has_nothing_to_compare_with(store):
    write_model(store / "by-hand")
    with pytest.raises(BaseModelError, match="has no hashes to compare with"):
        verify_place(find_place("by-hand"))


def test_removed_base_is_gone(tmp_path, store):
    add_base(write_model(tmp_path / "tiny"), store, agree, name="Org/tiny")
    remove_stored(store, "Org/tiny")
    assert list_rest(store) == []
    with pytest.raises(BaseModelError, match="holds no base Org/tiny"):
        remove_stored(store, "Org/tiny")


def test_errors_name_what_the_person_named(tmp_path, store):
    (write_model(tmp_path / "tiny") / "tokenizer.json").unlink()
    with pytest.raises(ApplianceError) as caught:
        add_base(tmp_path / "tiny", store, agree)
    assert caught.value.what == f"{tmp_path / 'tiny'} has no tokenizer.json"


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "folder"])
def test_damaged_source_is_refused_or_added_and_never_ends_otherwise(tmp_path, store, kind):
    folder = write_shards(tmp_path / "source" / "tiny")
    path = folder if kind == "folder" else pack(folder, kind)
    files = sorted(folder.iterdir()) if kind == "folder" else [path]
    whole = {file: file.read_bytes() for file in files}
    refused = 0
    for seed in range(60):
        random = Random(seed)
        file = random.choice(files)
        file.write_bytes(damage(whole[file], random))
        try:
            add_base(path, store, agree, name="damaged")
        except BaseModelError as exc:
            assert exc.why and exc.fix, f"seed {seed}"
            refused += 1
        else:
            remove_stored(store, "damaged")
        assert list_rest(store) == [], f"seed {seed}"
        file.write_bytes(whole[file])
    assert refused > 10


def damage(data: bytes, random: Random) -> bytes:
    """Flip, overwrite, cut or repeat something."""
    changed = bytearray(data)
    place = random.randrange(len(data))
    length = random.choice([1, 2, 4, 8, 500])
    match random.randrange(4):
        case 0:
            changed[place] ^= 1 << random.randrange(8)
        case 1:
            changed[place : place + length] = random.choice([b"\xff", b"\0"]) * length
        case 2:
            del changed[place : place + length * random.choice([1, 1, 10_000])]
        case _:
            changed[place:place] = changed[place : place + length]
    return bytes(changed)

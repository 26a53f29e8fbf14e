"""Sticks: what is packed, and how tampering is refused. Oracle: the files that went in."""

import hashlib
import json
import os
import shutil
import tracemalloc
import zipfile

import pytest

from appliance.airgap.install import install_stick
from appliance.airgap.room import find_limit
from appliance.airgap.verify import verify_stick
from appliance.airgap.wheels import read_wheel
from appliance.bundle.keys import OWN, create_key, export_key, trust_key
from appliance.errors import BaseModelError, BundleError, ResourceError, UsageError
from tests.airgap.sticks import pack, write_wheel, write_wheelhouse
from tests.bases.model_folder import write_model


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.setenv("APPLIANCE_BASES", str(tmp_path / "store"))


@pytest.fixture
def keys(tmp_path):
    create_key(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def wheelhouse(tmp_path):
    return write_wheelhouse(tmp_path / "wheelhouse")


@pytest.fixture
def stick(tmp_path, wheelhouse, keys):
    pack(tmp_path / "stick", wheelhouse, keys)
    return tmp_path / "stick"


def add_to_store(tmp_path, name="Some/base"):
    from appliance.bases.importing import add_base

    source = write_model(tmp_path / "source" / "base")
    add_base(source, tmp_path / "store", lambda offer: True, name=name)


def forge(stick, change):
    """Change the manifest, and all that depends on it but the signature."""
    path = stick / "manifest.json"
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def test_stick_holds_wheels_licences_pins_and_is_signed(stick, keys, wheelhouse):
    manifest, attested = verify_stick(stick, keys, must_be_signed=True)

    assert attested.signers == (OWN,)
    assert [(w.name, w.version, w.licence) for w in manifest.wheels] == [
        ("appliance", "0.1.0", "MIT"),
        ("left-part", "1.5", "MIT"),
        ("right-part", "2.0", ""),
    ]
    for wheel in manifest.wheels:
        content = (wheelhouse / wheel.file).read_bytes()
        assert wheel.sha256 == hashlib.sha256(content).hexdigest()
        (licence,) = wheel.licence_files
        assert (stick / "licences" / licence).read_text().startswith("the licence of")
    pins = (stick / "requirements.txt").read_text().splitlines()
    assert pins[1] == f"left-part==1.5 --hash=sha256:{manifest.wheels[1].sha256}"
    assert "not told by the package" in (stick / "licences.json").read_text()
    assert "pip install --no-index --require-hashes" in (stick / "README.txt").read_text()


def test_stick_carries_a_base_of_the_store(tmp_path, wheelhouse, keys):
    add_to_store(tmp_path)

    manifest = pack(tmp_path / "stick", wheelhouse, keys, bases=["Some/base"])

    assert [(base.name, base.folder) for base in manifest.bases] == [("Some/base", "Some--base")]
    verify_stick(tmp_path / "stick", keys, must_be_signed=True)
    weights = "Some--base/model.safetensors"
    assert (tmp_path / "stick" / "bases" / weights).read_bytes() == (
        tmp_path / "store" / weights
    ).read_bytes()


def test_base_that_was_changed_in_the_store_is_not_packed(tmp_path, wheelhouse, keys):
    add_to_store(tmp_path)
    (tmp_path / "store" / "Some--base" / "config.json").write_text("{}")

    with pytest.raises(BaseModelError):
        pack(tmp_path / "stick", wheelhouse, keys, bases=["Some/base"])


def test_embedded_base_needs_no_packing(tmp_path, wheelhouse, keys):
    with pytest.raises(UsageError, match="not a base of a store"):
        pack(tmp_path / "stick", wheelhouse, keys, bases=["embedded"])


def _change_wheel(stick):
    with (stick / "wheels" / "left_part-1.5-py3-none-any.whl").open("ab") as file:
        file.write(b"x")


def _change_byte(stick):
    path = stick / "wheels" / "left_part-1.5-py3-none-any.whl"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _change_wheel_and_hashes(stick):
    _change_byte(stick)
    path = stick / "wheels" / "left_part-1.5-py3-none-any.whl"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()

    def mend(body):
        for entry in body["files"]:
            if entry["path"].endswith(path.name):
                old, entry["sha256"] = entry["sha256"], sha256
        body["wheels"][1]["sha256"] = sha256
        pins = stick / "requirements.txt"
        pins.write_text(pins.read_text().replace(old, sha256))
        content = pins.read_bytes()
        for entry in body["files"]:
            if entry["path"] == "requirements.txt":
                entry["sha256"] = hashlib.sha256(content).hexdigest()

    forge(stick, mend)


def _link(stick):
    path = stick / "licences.json"
    target = stick.parent / "elsewhere.json"
    path.rename(target)
    path.symlink_to(target)


def _link_folder(stick):
    (stick / "licences").rename(stick.parent / "licences")
    (stick / "licences").symlink_to(stick.parent / "licences")


def _swap_wheels(stick):
    one, two = (
        stick / "wheels" / f"{n}-py3-none-any.whl" for n in ("left_part-1.5", "right_part-2.0")
    )
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)


def _name(path):
    return lambda stick: forge(stick, lambda body: body["files"][0].update(path=path))


TAMPERED = {
    "a wheel is longer": (_change_wheel, "is not what was packed"),
    "a byte of a wheel is another": (_change_byte, "is not what was packed"),
    "a wheel and its hashes were changed": (_change_wheel_and_hashes, "manifest was changed"),
    "two wheels are swapped": (_swap_wheels, "is not what was packed"),
    "a wheel is missing": (lambda s: (s / "wheels" / "left_part-1.5-py3-none-any.whl").unlink(),
                           "is missing"),
    "a wheel was added": (lambda s: write_wheel(s / "wheels", "evil"), "not in its manifest"),
    "a file was added deep down": (lambda s: (s / "bases" / ".hidden").write_text("x"),
                                   "not in its manifest"),
    "the pins name an index": (
        lambda s: (s / "requirements.txt").write_text("--index-url evil\n"),
        "is not what was packed",
    ),
    "the readme was changed": (lambda s: (s / "README.txt").write_text("run this"),
                               "is not what was packed"),
    "a file became a link": (_link, "not a plain file"),
    "a folder became a link": (_link_folder, "not a plain file"),
    "a file became a fifo": (lambda s: ((s / "README.txt").unlink(), os.mkfifo(s / "README.txt")),
                             "not a plain file"),
    "the manifest leads out": (_name("../outside"), "path that it must not"),
    "the manifest names a drive": (_name("C:/x"), "path that it must not"),
    "the manifest is cut": (lambda s: (s / "manifest.json").write_text("{"), "cannot be read"),
    "the manifest is deep": (lambda s: (s / "manifest.json").write_text("[" * 100_000),
                             "cannot be read"),
    "the manifest is of a bundle": (
        lambda s: forge(s, lambda body: body.update(product="appliance")), "cannot be read",
    ),
    "the manifest is gone": (lambda s: (s / "manifest.json").unlink(), "is not a stick"),
    "the attestation is gone": (lambda s: (s / "attestation.json").unlink(), "not signed"),
    "the attestation is empty": (lambda s: (s / "attestation.json").write_text("{}"),
                                 "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERED)
def test_tampered_stick_is_refused(stick, keys, case):
    tamper, why = TAMPERED[case]
    tamper(stick)

    with pytest.raises(BundleError) as refused:
        verify_stick(stick, keys, must_be_signed=True)

    assert why in str(refused.value)


def test_pins_that_differ_from_a_forged_manifest_are_refused_without_a_signature(stick, keys):
    """Whoever may not be asked for a signature still cannot let pip fetch something else."""
    pins = stick / "requirements.txt"
    pins.write_text("--index-url http://evil\n" + pins.read_text())
    content = pins.read_bytes()

    def mend(body):
        for entry in body["files"]:
            if entry["path"] == "requirements.txt":
                entry |= {"sha256": hashlib.sha256(content).hexdigest(), "num_bytes": len(content)}

    forge(stick, mend)
    (stick / "attestation.json").unlink()

    with pytest.raises(BundleError, match="pip would install something else"):
        verify_stick(stick, keys, must_be_signed=False)


def test_stick_of_a_stranger_is_refused_until_the_key_is_trusted(stick, keys, tmp_path):
    create_key(tmp_path / "other")

    with pytest.raises(BundleError, match="not signed by anybody you trust"):
        verify_stick(stick, tmp_path / "other", must_be_signed=True)
    trust_key(tmp_path / "other", export_key(keys).encode(), "our box")

    _, attested = verify_stick(stick, tmp_path / "other", must_be_signed=True)
    assert attested.signers == ("our box",)


def test_stick_whose_files_are_too_long_for_it_is_refused_before_copying(
    tmp_path, wheelhouse, keys
):
    with pytest.raises(ResourceError, match="takes no file as long as"):
        pack(tmp_path / "stick", wheelhouse, keys, max_file_bytes=100)

    assert list((tmp_path / "stick").iterdir()) == []


def test_limit_of_this_file_system_is_none(tmp_path):
    assert find_limit(tmp_path) is None


def test_folder_that_holds_something_is_refused(tmp_path, wheelhouse, keys):
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / "photo.jpg").touch()

    with pytest.raises(UsageError, match="is not empty"):
        pack(tmp_path / "stick", wheelhouse, keys)


def test_wheelhouse_without_the_program_is_refused(tmp_path, keys):
    write_wheel(tmp_path / "wheelhouse", "left_part", "1.5")

    with pytest.raises(UsageError, match="does not hold this program"):
        pack(tmp_path / "stick", tmp_path / "wheelhouse", keys)


def test_two_versions_of_a_package_are_refused(tmp_path, wheelhouse, keys):
    write_wheel(wheelhouse, "left_part", "1.6")

    with pytest.raises(UsageError, match="two versions of left-part"):
        pack(tmp_path / "stick", wheelhouse, keys)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_wheel_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "left_part-1.5-py3-none-any.whl"
    path.write_bytes(content)

    with pytest.raises(BundleError, match="is not a wheel"):
        read_wheel(path)


def test_wheel_that_is_another_is_refused(tmp_path):
    path = write_wheel(tmp_path, "left_part", "1.5")
    path.rename(tmp_path / "right_part-1.5-py3-none-any.whl")

    with pytest.raises(BundleError, match="is not what its name says"):
        read_wheel(tmp_path / "right_part-1.5-py3-none-any.whl")


def test_licence_that_floods_is_refused(tmp_path):
    path = write_wheel(tmp_path, "left_part", "1.5")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("left_part-1.5.dist-info/METADATA.old", "x")
    with zipfile.ZipFile(
        tmp_path / "big-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED
    ) as archive:
        archive.writestr("big-1.0.dist-info/METADATA", "Name: big\nVersion: 1.0\n" + " " * 2**21)

    assert read_wheel(path).version == "1.5"
    with pytest.raises(BundleError, match="more than"):
        read_wheel(tmp_path / "big-1.0-py3-none-any.whl")


def test_packing_and_verifying_take_the_same_memory_whatever_the_size(tmp_path, keys):
    """64 MiB of a wheel; less than 8 MiB at any time."""
    wheel = write_wheel(tmp_path / "wheelhouse")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("appliance/data.bin", bytes(64 * 2**20))
    tracemalloc.start()

    pack(tmp_path / "stick", tmp_path / "wheelhouse", keys)
    verify_stick(tmp_path / "stick", keys, must_be_signed=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 8 * 2**20


@pytest.mark.slow
def test_installation_that_fails_leaves_nothing(tmp_path, wheelhouse, keys):
    shutil.rmtree(wheelhouse)
    write_wheel(wheelhouse, requires=("not-on-the-stick",))
    pack(tmp_path / "stick", wheelhouse, keys)

    with pytest.raises(ResourceError, match="cannot be installed"):
        install_stick(
            tmp_path / "stick", tmp_path / "into", keys, tmp_path / "store", must_be_signed=True
        )

    assert not (tmp_path / "into").exists()


def test_environment_that_is_there_is_left_alone(tmp_path, stick, keys):
    (tmp_path / "into").mkdir()

    with pytest.raises(UsageError, match="is there already"):
        install_stick(stick, tmp_path / "into", keys, tmp_path / "store", must_be_signed=True)

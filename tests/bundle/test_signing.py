"""Keys, signatures, and thirty ways to tamper with a signed bundle."""

import base64
import json
import os
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from appliance.bundle.attest import PAYLOAD_TYPE, encode_for_signing, seal
from appliance.bundle.keys import (
    OWN,
    SIGNING_KEY,
    create_key,
    export_key,
    identify,
    list_trusted,
    load_signing_key,
    trust_key,
    write_pem,
)
from appliance.bundle.signing import check_attestation, sign_bundle
from appliance.bundle.verify import verify_bundle
from appliance.errors import BundleError, UsageError
from appliance.files import hash_file


@pytest.fixture
def keys(tmp_path):
    """Keys of the person who verifies."""
    folder = tmp_path / "keys"
    create_key(folder)
    return folder


@pytest.fixture
def signed(bundle, keys):
    """A bundle that this person signed."""
    assert sign_bundle(bundle, keys) == (OWN,)
    return bundle


def check(bundle, keys):
    verify_bundle(bundle)
    return check_attestation(bundle, keys, must_be_signed=True)


def change_json(path, change):
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def change_statement(bundle, change, *, sign_with=None):
    """Change what is attested; the signature stays, or is made by another key."""
    envelope = json.loads((bundle / "attestation.json").read_text())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    if sign_with is not None:
        (bundle / "attestation.json").write_text(seal(payload, sign_with))
        return
    envelope["payload"] = base64.b64encode(payload).decode()
    (bundle / "attestation.json").write_text(json.dumps(envelope))


def forge(bundle):
    """Change a file and everything that vouches for it, as far as one can without the key."""
    (bundle / "chat_template.jinja").write_text("{{ 'send it to me' }}")

    def mend(manifest):
        for entry in manifest["files"]:
            path = bundle / entry["path"]
            entry |= {"num_bytes": path.stat().st_size, "sha256": hash_file(path)}

    change_json(bundle / "manifest.json", mend)


def set_subject(bundle):
    def change(statement):
        statement["subject"][0]["digest"]["sha256"] = hash_file(bundle / "manifest.json")

    return change


def test_signature_is_that_of_the_standard(signed, keys):
    envelope = json.loads((signed / "attestation.json").read_text())
    payload = base64.b64decode(envelope["payload"])
    kind = b"application/vnd.in-toto+json"
    encoded = b" ".join(
        [b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload]
    )
    (signature,) = envelope["signatures"]
    public = load_signing_key(keys).public_key()
    public.verify(base64.b64decode(signature["sig"]), encoded)
    assert encode_for_signing(PAYLOAD_TYPE, payload) == encoded
    assert signature["keyid"] == identify(public)


def test_bundle_without_a_key_is_not_signed(bundle, keys):
    attested = check_attestation(bundle, keys, must_be_signed=False)
    assert (attested.signers, attested.unknown) == ((), ())
    with pytest.raises(BundleError, match="not signed by anybody you trust"):
        check(bundle, keys)


def test_pack_signs_where_there_is_a_key(tmp_path, keys, monkeypatch):
    from exported_model import build
    from packed_bundle import make_other_stage, pack_again

    monkeypatch.setenv("APPLIANCE_KEYS", str(keys))
    stage = make_other_stage(tmp_path / "run")
    pack_again(build("int4"), stage)
    assert check(stage.folder, keys).signers == (OWN,)


def test_second_person_trusts_a_key_by_name(signed, keys, tmp_path):
    others = tmp_path / "other machine"
    attested = check_attestation(signed, others, must_be_signed=False)
    assert attested.unknown == (identify(load_signing_key(keys).public_key()),)
    trust_key(others, export_key(keys).encode(), "our box")
    assert check(signed, others).signers == ("our box",)


def test_second_person_adds_a_signature(signed, keys, tmp_path):
    others = tmp_path / "other"
    create_key(others)
    trust_key(others, export_key(keys).encode(), "maker")
    assert sign_bundle(signed, others) == ("maker", OWN)
    assert sign_bundle(signed, others) == ("maker", OWN), "signing again adds nothing"
    assert check(signed, keys).signers == (OWN,)


def test_key_is_closed_to_others_and_never_replaced(keys):
    assert stat.S_IMODE((keys / SIGNING_KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    with pytest.raises(UsageError, match="there is a key already"):
        create_key(keys)


def test_key_that_others_can_read_does_not_sign(keys):
    (keys / SIGNING_KEY).chmod(0o644)
    with pytest.raises(BundleError, match="others can read"):
        load_signing_key(keys)


def encode_private(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "content",
    [b"", b"no key", encode_private(generate_private_key(65537, 2048))],
    ids=["empty", "text", "rsa"],
)
def test_key_of_another_kind_does_not_sign(keys, content):
    (keys / SIGNING_KEY).write_bytes(content)
    with pytest.raises(BundleError, match="cannot be used"):
        load_signing_key(keys)


def test_private_key_is_not_taken_for_a_public_one(keys, tmp_path):
    with pytest.raises(BundleError, match="not a public ed25519 key"):
        trust_key(tmp_path / "k", (keys / SIGNING_KEY).read_bytes(), "me")
    rsa = generate_private_key(65537, 2048).public_key()
    pem = rsa.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(BundleError, match="not a public ed25519 key"):
        trust_key(tmp_path / "k", pem, "them")


@pytest.mark.parametrize("name", ["", "../up", "a/b", OWN, "x" * 65, "a\0b"])
def test_name_of_a_key_is_a_file_name_and_not_ours(keys, name):
    with pytest.raises(UsageError, match="cannot be called"):
        trust_key(keys, export_key(keys).encode(), name)


def test_name_is_not_given_to_a_second_key(keys):
    first, second = (Ed25519PrivateKey.generate().public_key() for _ in range(2))
    trust_key(keys, write_pem(first).encode(), "box")
    trust_key(keys, write_pem(first).encode(), "box")
    with pytest.raises(UsageError, match="another key is trusted"):
        trust_key(keys, write_pem(second).encode(), "box")
    assert [key.name for key in list_trusted(keys)] == [OWN, "box"]


# ------------------------------------------------- thirty tampered bundles


def flip(name, place=0.5):
    def tamper(bundle):
        path = bundle / name
        content = bytearray(path.read_bytes())
        content[int(len(content) * place)] ^= 1
        path.write_bytes(content)

    return tamper


def edit_envelope(change):
    return lambda bundle: change_json(bundle / "attestation.json", change)


def edit_manifest(change):
    return lambda bundle: change_json(bundle / "manifest.json", change)


def edit_statement(change):
    return lambda bundle: change_statement(bundle, change)


def forge_and_edit_statement(bundle):
    forge(bundle)
    change_statement(bundle, set_subject(bundle))


def forge_and_sign_with_another_key(bundle):
    forge(bundle)
    change_statement(bundle, set_subject(bundle), sign_with=Ed25519PrivateKey.generate())


def forge_and_sign_under_a_known_name(bundle):
    """The thief's signature, with the maker's key identity beside it."""
    keyid = json.loads((bundle / "attestation.json").read_text())["signatures"][0]["keyid"]
    forge_and_sign_with_another_key(bundle)
    edit_envelope(lambda body: body["signatures"][0].update(keyid=keyid))(bundle)


def replace_by_link(name, target):
    def tamper(bundle):
        (bundle / name).unlink()
        (bundle / name).symlink_to(target)

    return tamper


TAMPERED = {
    "bit of the weights": (flip("model.onnx.data"), "model.onnx.data"),
    "bit of the graph": (flip("model.onnx"), "model.onnx"),
    "bit of the tokenizer": (flip("tokenizer.json"), "tokenizer.json"),
    "bit of the template": (flip("chat_template.jinja"), "chat_template.jinja"),
    "bit of a report": (flip("reports/evaluation.json"), "reports/evaluation.json"),
    "bit of the card": (flip("MODEL_CARD.md"), "MODEL_CARD.md"),
    "bit of the bill": (flip("reports/bom.cdx.json"), "bom.cdx.json"),
    "bit of the documents": (flip("reports/documents.json"), "documents.json"),
    "weights cut": (lambda b: os.truncate(b / "model.onnx.data", 1000), "model.onnx.data"),
    "weights gone": (lambda b: (b / "model.onnx.data").unlink(), "missing"),
    "file added": (lambda b: (b / "run.sh").write_text("x"), "run.sh"),
    "folder added": (lambda b: ((b / "x").mkdir(), (b / "x" / "y").touch()), "x/y"),
    "weights are a link": (replace_by_link("model.onnx.data", "/dev/zero"), "plain file"),
    "attestation is a link": (replace_by_link("attestation.json", "/dev/zero"), "plain file"),
    "manifest is a link": (replace_by_link("manifest.json", "/etc/passwd"), "plain file"),
    "licence in the manifest": (
        edit_manifest(lambda body: body.update(licence="mit")),
        "manifest was changed",
    ),
    "base in the manifest": (
        edit_manifest(lambda body: body.update(base="better")),
        "manifest was changed",
    ),
    "space in the manifest": (
        lambda b: (b / "manifest.json").write_text((b / "manifest.json").read_text() + " "),
        "manifest was changed",
    ),
    "manifest lists itself less": (
        edit_manifest(lambda body: body["files"].pop()),
        "not in its manifest",
    ),
    "file and manifest": (forge, "manifest was changed"),
    "file, manifest and statement": (forge_and_edit_statement, "signature by this user is wrong"),
    "all, another key": (forge_and_sign_with_another_key, "not signed by anybody you trust"),
    "all, under our name": (forge_and_sign_under_a_known_name, "signature by this user is wrong"),
    "attestation gone": (
        lambda b: (b / "attestation.json").unlink(),
        "not signed by anybody you trust",
    ),
    "signature gone": (
        edit_envelope(lambda body: body.update(signatures=[])),
        "not signed by anybody you trust",
    ),
    "signature cut": (
        edit_envelope(lambda body: body["signatures"][0].update(sig="AAAA")),
        "signature by this user is wrong",
    ),
    "signature is no base64": (
        edit_envelope(lambda body: body["signatures"][0].update(sig="%")),
        "signature by this user is wrong",
    ),
    "base in the statement": (
        edit_statement(
            lambda body: body["predicate"]["buildDefinition"]["resolvedDependencies"][0].update(
                name="better"
            )
        ),
        "signature by this user is wrong",
    ),
    "another type of payload": (
        edit_envelope(lambda body: body.update(payloadType="text/plain")),
        "cannot be read",
    ),
    "another kind of statement": (
        edit_statement(lambda body: body.update(_type="https://in-toto.io/Statement/v9")),
        "cannot be read",
    ),
    "two subjects": (
        edit_statement(lambda body: body["subject"].append(body["subject"][0])),
        "cannot be read",
    ),
    "payload is no JSON": (
        edit_envelope(lambda body: body.update(payload="AAAA")),
        "cannot be read",
    ),
    "attestation is no JSON": (
        lambda b: (b / "attestation.json").write_text("signed!"),
        "cannot be read",
    ),
    "attestation is endless": (
        lambda b: os.truncate(b / "attestation.json", 2**33),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_bundle_is_refused_with_its_reason(signed, keys, name):
    check(signed, keys)
    tamper, reason = TAMPERED[name]
    tamper(signed)
    with pytest.raises(BundleError) as caught:
        check(signed, keys)
    assert reason in f"{caught.value.what} {caught.value.why}"
    assert caught.value.fix


def test_thirty_ways_and_more():
    assert len(TAMPERED) >= 30

import json

import pytest
from exported_model import build, get_folder
from packed_bundle import BASE, PARITY, SECRET, make_other_stage, pack_again

from appliance.bundle.manifest import Manifest
from appliance.bundle.verify import verify_bundle
from appliance.errors import ExportError
from appliance.files import hash_file


def test_pack_puts_model_reports_card_and_manifest_together(packed):
    names = {path.relative_to(packed).as_posix() for path in packed.rglob("*") if path.is_file()}
    assert names == {
        "model.onnx",
        "model.onnx.data",
        "genai_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "reports/plan.json",
        "reports/tuning.json",
        "reports/evaluation.json",
        "reports/parity.json",
        "reports/ledger.json",
        "reports/documents.json",
        "reports/verdict.json",
        "reports/bom.cdx.json",
        "attestation.json",
        "reports/report.html",
        "reports/report.json",
        "MODEL_CARD.md",
        "manifest.json",
    }


def test_pack_names_what_the_bundle_is(packed):
    manifest = verify_bundle(packed)
    assert (manifest.base, manifest.method, manifest.precision) == ("embedded", "qlora", "int4")
    assert manifest.licence == "apache-2.0"
    assert manifest.created.endswith("+00:00")


def test_pack_hashes_what_was_exported(packed):
    entries = {entry.path: entry for entry in verify_bundle(packed).files}
    exported = get_folder("int4") / "model.onnx.data"
    assert entries["model.onnx.data"].sha256 == hash_file(exported)
    assert entries["model.onnx.data"].num_bytes == exported.stat().st_size


def test_pack_takes_no_second_disk_space_for_the_model(packed):
    assert (packed / "model.onnx.data").samefile(get_folder("int4") / "model.onnx.data")


def test_pack_lets_no_path_of_the_run_into_the_bundle(packed):
    for path in packed.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".md", ".jinja"):
            text = path.read_text(encoding="utf-8")
            assert SECRET not in text, path
            assert str(packed.parent) not in text, path
            assert BASE.folder not in text, path


def test_pack_reports_every_file_by_count(packed):
    ledger = json.loads((packed / "reports" / "ledger.json").read_text())
    assert ledger["corpus"]["num_skipped"] == 2
    assert ledger["dataset"]["num_tokens_dropped"] == 17
    assert ledger["splits"]["train"]["num_tokens"] == 9_000


def test_pack_says_in_the_card_what_a_stranger_has_to_know(packed):
    card = (packed / "MODEL_CARD.md").read_text()
    for part in (
        "base_model: embedded",
        "license: apache-2.0",
        "QLoRA",
        "12 / 9 / 1 / 2",
        "7 documents (4,321 tokens)",
        "| onnx-int4 | 5.0100 | 0.003 | 95.0 % | 98.0 % |",
        "Treat the bundle as confidential",
        "appliance chat .",
        "ORT_DISABLE_TELEMETRY=1",
    ):
        assert part in card


def test_pack_quotes_the_card_and_keeps_the_licence_of_the_base(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\nTrained on open text.\n")
    (base / "LICENSE").write_text("MIT License")
    build("int4")
    stage = make_other_stage(tmp_path)
    pack_again(build("int4"), stage, base=BASE.model_copy(update={"folder": str(base)}))
    card = (stage.folder / "MODEL_CARD.md").read_text()
    assert "> # Tiny\n> Trained on open text." in card
    assert "license: mit" not in card
    assert (stage.folder / "BASE_LICENSE").read_text() == "MIT License"
    assert "BASE_LICENSE" in {entry.path for entry in verify_bundle(stage.folder).files}


def test_pack_starts_over_after_an_interruption(tmp_path):
    build("int4")
    stage = make_other_stage(tmp_path)
    (stage.folder / "reports").mkdir()
    (stage.folder / "reports" / "old.json").write_text("{}")
    (stage.folder / "model.onnx").write_text("half")
    pack_again(build("int4"), stage)
    verify_bundle(stage.folder)
    assert not (stage.folder / "reports" / "old.json").exists()


def test_pack_refuses_a_model_that_parity_was_not_shown_for(tmp_path):
    build("int4")
    parity = PARITY.model_copy(update={"shipped": "int8"})
    with pytest.raises(ExportError, match="the model to pack is int4") as caught:
        pack_again(build("int4"), make_other_stage(tmp_path), parity=parity)
    assert "passed its gates" in caught.value.why
    assert not list((tmp_path / "bundle").iterdir())


def test_manifest_survives_json(packed):
    text = (packed / "manifest.json").read_text()
    assert Manifest.model_validate_json(text).model_dump_json(indent=1) + "\n" == text

"""Models in a hub's cache. Oracle: the layout that its client documents."""

import os

import pytest

from appliance.bases.catalogue import find_bases, find_place, list_places
from appliance.bases.hub_cache import list_cached, locate_cache
from appliance.bases.importing import add_base
from appliance.bases.manifest import verify_place
from appliance.errors import BaseModelError
from tests.bases.hub import write_cached


def snapshot_of(folder):
    return {path: path.lstat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_model_of_the_cache_is_offered_and_found_by_name(cache):
    folder = write_cached(cache, "Org/tiny")
    before = snapshot_of(cache)
    assert [spec.name for spec in find_bases().specs] == ["embedded", "Org/tiny"]
    (spec,) = find_bases("Org/tiny").specs
    assert spec.folder == str(folder.resolve())
    assert snapshot_of(cache) == before  # it is only read


def test_made_up_cache_is_one_to_its_own_client(cache):
    from huggingface_hub import scan_cache_dir

    write_cached(cache, "Org/tiny")
    found = scan_cache_dir(cache)
    assert [repository.repo_id for repository in found.repos] == ["Org/tiny"]
    assert found.warnings == []


def test_snapshot_is_found_by_path_and_called_by_its_name(cache):
    folder = write_cached(cache, "Org/tiny")
    for path in (folder, cache / "models--Org--tiny"):
        assert find_bases(str(path)).specs[0].name == "Org/tiny"


def test_main_reference_decides_the_snapshot_else_the_latest(cache):
    old = write_cached(cache, "Org/tiny", "a" * 40)
    new = write_cached(cache, "Org/tiny", "b" * 40)
    os.utime(old, (1, 1))
    (cache / "models--Org--tiny" / "refs" / "main").write_text("a" * 40)
    assert list_cached(cache)[0].folder == old
    (cache / "models--Org--tiny" / "refs" / "main").unlink()
    assert list_cached(cache)[0].folder == new


def test_other_things_in_the_cache_are_none_of_ours(cache):
    write_cached(cache, "Org/bert", architectures=["BertModel"], model_type="bert")
    (cache / "models--Org--empty").mkdir()
    (cache / "models--Org--config-less" / "snapshots" / "c").mkdir(parents=True)
    (cache / "datasets--Org--data").mkdir()
    (cache / "version.txt").write_text("1")
    assert [place.name for place in list_places()] == ["embedded"]


def test_half_downloaded_model_is_told_as_broken(cache):
    folder = write_cached(cache, "Org/tiny")
    (folder / "model.safetensors").resolve().unlink()
    found = find_bases()
    assert [row.choice for row in found.broken] == ["Org/tiny"]
    assert "has no weights" in found.broken[0].reason


def test_link_that_leads_out_of_the_cache_is_refused(cache, tmp_path):
    folder = write_cached(cache, "Org/tiny")
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (folder / "tokenizer_config.json").symlink_to(secret)
    assert "leads out" in find_bases().broken[0].reason
    with pytest.raises(BaseModelError, match="leads out"):
        find_bases("Org/tiny")


def test_code_in_the_cache_is_refused(cache):
    folder = write_cached(cache, "Org/tiny")
    (folder / "modeling_odd.py").write_text("raise SystemExit")
    assert "brings its own code" in find_bases().broken[0].reason


def test_cache_is_verified_by_the_names_of_its_blobs(cache):
    folder = write_cached(cache, "Org/tiny")
    files = verify_place(find_place("Org/tiny"))
    assert [file.name for file in files] == ["config.json", "model.safetensors", "tokenizer.json"]
    for name in ("model.safetensors", "config.json"):
        blob = (folder / name).resolve()
        data = bytearray(blob.read_bytes())
        data[-1] ^= 1
        blob.write_bytes(bytes(data))
        with pytest.raises(BaseModelError, match="is not what was brought here") as caught:
            verify_place(find_place("Org/tiny"))
        assert name in caught.value.why
        data[-1] ^= 1
        blob.write_bytes(bytes(data))


def test_model_of_a_cache_is_imported_with_its_name_and_without_links(cache, store):
    folder = write_cached(cache, "Org/tiny")
    manifest = add_base(folder.parent.parent, store, lambda offer: True)
    assert manifest.name == "Org/tiny"
    kept = store / "Org--tiny"
    assert all(path.is_file() and not path.is_symlink() for path in kept.iterdir())
    assert find_place("Org/tiny").where == "store"


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"HF_HUB_CACHE": "/a/cache", "HF_HOME": "/a/home"}, "/a/cache"),
        ({"HF_HOME": "/a/home"}, "/a/home/hub"),
        ({"XDG_CACHE_HOME": "/a/xdg"}, "/a/xdg/huggingface/hub"),
        ({"HOME": "/a/user"}, "/a/user/.cache/huggingface/hub"),
    ],
)
def test_cache_lies_where_its_client_would_look(monkeypatch, variables, place):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(locate_cache()) == place

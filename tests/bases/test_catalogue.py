"""Which bases there are: the package's own, the store's, a folder's."""

import pytest

from appliance.bases.catalogue import find_bases, locate_store
from appliance.errors import BaseModelError
from tests.bases.model_folder import write_model


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "bases"


def test_embedded_alone_is_found_where_there_is_no_store():
    assert [spec.name for spec in find_bases().specs] == ["embedded"]


def test_embedded_is_found_by_name():
    (spec,) = find_bases("embedded").specs
    assert spec.name == "embedded"


def test_store_is_listed_and_broken_models_say_why(store):
    write_model(store / "good")
    (write_model(store / "bad") / "tokenizer.json").unlink()
    write_model(store / ".import-under-way")
    found = find_bases()
    assert [spec.name for spec in found.specs] == ["embedded", "good"]
    (broken,) = found.broken
    assert broken.choice == "bad"
    assert "has no tokenizer.json" in broken.reason


def test_model_of_the_store_is_found_by_name(store):
    write_model(store / "good")
    (spec,) = find_bases("good").specs
    assert spec.folder == str((store / "good").resolve())


def test_folder_is_found_by_path(tmp_path):
    (spec,) = find_bases(str(write_model(tmp_path / "mine"))).specs
    assert spec.name == "mine"


def test_name_that_climbs_out_of_the_store_is_not_found(store):
    write_model(store.parent / "outside")
    with pytest.raises(BaseModelError):
        find_bases("../outside")


def test_broken_base_that_was_asked_for_is_an_error(store):
    (write_model(store / "bad") / "config.json").unlink()
    with pytest.raises(BaseModelError, match=r"has no config\.json"):
        find_bases("bad")


def test_store_lies_in_the_data_folder_of_the_user(monkeypatch):
    monkeypatch.delenv("APPLIANCE_HOME")
    assert locate_store().parts[-2:] == ("appliance", "bases")

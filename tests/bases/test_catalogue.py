"""Which bases there are: the package's own, the stores', the cache's, a folder's."""

import pytest

from appliance.bases.catalogue import find_bases, find_place, list_places
from appliance.bases.importing import add_base
from appliance.bases.known import find_known
from appliance.bases.store import remove_stored
from appliance.errors import BaseModelError
from appliance.planning.planner import choose_base
from appliance.recipe import TuneRecipe
from tests.bases.hub import write_cached
from tests.bases.model_folder import write_model, write_sparse_model
from tests.planning.machines import make_corpus, make_hardware


def card(licence: str) -> str:
    return f"---\nlicense: {licence}\n---\n"


def test_embedded_alone_is_found_where_there_is_nothing_else():
    assert [spec.name for spec in find_bases().specs] == ["embedded"]


def test_embedded_is_found_by_name():
    (spec,) = find_bases("embedded").specs
    assert spec.name == "embedded"


def test_store_is_listed_and_broken_models_say_why(store):
    write_model(store / "good")
    (write_model(store / "bad") / "tokenizer.json").unlink()
    write_model(store / ".partial-import")
    found = find_bases()
    assert [spec.name for spec in found.specs] == ["embedded", "good"]
    (broken,) = found.broken
    assert broken.choice == "bad"
    assert "has no tokenizer.json" in broken.reason


def test_model_of_the_store_is_found_by_name(store):
    write_model(store / "Org--good")
    (spec,) = find_bases("Org/good").specs
    assert (spec.name, spec.folder) == ("Org/good", str((store / "Org--good").resolve()))


def test_store_of_the_user_stands_before_the_system_and_the_cache(store, cache, tmp_path):
    write_model(tmp_path / "system" / "org--model")
    write_model(tmp_path / "system" / "shared")
    write_cached(cache, "org/model")
    write_cached(cache, "org/cached")
    places = {place.name: place.where for place in list_places()}
    assert places == {
        "embedded": "package",
        "org/model": "system",
        "shared": "system",
        "org/cached": "cache",
    }
    write_model(store / "org--model")
    assert find_place("org/model").where == "store"


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


@pytest.mark.parametrize("licence", ["cc-by-nc-4.0", "some-research-license"])
def test_licence_that_forbids_commercial_use_is_only_offered_by_name(store, licence):
    (write_model(store / "closed") / "README.md").write_text(card(licence))
    found = find_bases()
    assert [spec.name for spec in found.specs] == ["embedded"]
    (rejected,) = found.broken
    assert rejected.choice == "closed"
    assert "forbids commercial use" in rejected.reason
    assert "--base closed" in rejected.reason
    (spec,) = find_bases("closed").specs
    assert spec.licence == licence


def test_licence_of_a_known_name_counts_where_the_folder_states_none(cache):
    write_cached(cache, "Qwen/Qwen2.5-3B")
    write_cached(cache, "Qwen/Qwen3-0.6B")
    found = find_bases()
    assert {spec.name: spec.licence for spec in found.specs} == {
        "embedded": "apache-2.0",
        "Qwen/Qwen3-0.6B": "apache-2.0",
    }
    assert [row.choice for row in found.broken] == ["Qwen/Qwen2.5-3B"]
    assert "Qwen Research License" in found.broken[0].reason
    assert find_bases("Qwen/Qwen2.5-3B").specs[0].licence == "qwen-research"


def test_card_cannot_free_a_known_model(store):
    (write_model(store / "Qwen--Qwen2.5-3B") / "README.md").write_text(card("mit"))
    assert [row.choice for row in find_bases().broken] == ["Qwen/Qwen2.5-3B"]


def test_known_name_that_is_absent_says_how_to_bring_it():
    with pytest.raises(BaseModelError) as caught:
        find_bases("Qwen/Qwen3-0.6B")
    error = caught.value
    assert error.what == "base model Qwen/Qwen3-0.6B is not on this machine"
    assert "present: embedded; nothing is ever downloaded" in error.why
    assert "1.1 GiB, Apache License 2.0" in error.why
    assert "hf download Qwen/Qwen3-0.6B --local-dir Qwen3-0.6B" in error.fix
    assert "appliance bases add PATH/Qwen3-0.6B --name Qwen/Qwen3-0.6B" in error.fix


def test_misspelt_name_is_answered_with_the_nearest_one(store):
    write_model(store / "Org--pumps")
    with pytest.raises(BaseModelError) as caught:
        find_bases("pump")
    assert "similar names: Org/pumps" in caught.value.why
    assert caught.value.fix == "--base Org/pumps"
    with pytest.raises(BaseModelError) as caught:
        find_bases("qwen3-0.6")
    assert "Qwen/Qwen3-0.6B" in caught.value.why


@pytest.mark.parametrize("base", ["/nothing/here", "./models/x", "~/nothing-there", "a/b/c"])
def test_path_that_is_absent_is_told_as_a_folder(base):
    with pytest.raises(BaseModelError) as caught:
        find_bases(base)
    assert caught.value.what == f"base model folder {base} is not there"


def test_imported_base_is_chosen_like_any_other(store, tmp_path):
    add_base(write_model(tmp_path / "stick"), store, lambda offer: True, name="Org/tiny")
    assert [spec.name for spec in find_bases().specs] == ["embedded", "Org/tiny"]


def test_folder_that_a_person_linked_into_the_store_is_used_and_only_unlinked(store, tmp_path):
    folder = write_model(tmp_path / "elsewhere")
    store.mkdir(parents=True)
    (store / "mine").symlink_to(folder)
    (spec,) = find_bases("mine").specs
    assert spec.folder == str(folder.resolve())
    remove_stored(store, "mine")
    assert list(store.iterdir()) == [store / ".lock"]
    assert (folder / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("licence", "chosen"), [("apache-2.0", "Org/large"), ("cc-by-nc-4.0", "embedded")]
)
def test_planner_takes_the_larger_base_unless_its_licence_forbids(store, licence, chosen):
    known = find_known("HuggingFaceTB/SmolLM2-135M")
    folder = write_sparse_model(store / "Org--large", known.architecture, known.config)
    (folder / "README.md").write_text(card(licence))
    choice = choose_base(make_hardware(), find_bases(), make_corpus(), TuneRecipe())
    assert choice.spec.name == chosen
    if chosen == "embedded":
        assert "forbids commercial use" in choice.rejected[0].reason

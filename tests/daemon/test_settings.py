"""Settings and where things lie. Oracle: the rules of the fields."""

import os
from pathlib import Path

import pytest

from appliance.daemon.paths import (
    SYSTEM_SOCKET,
    StateFolder,
    find_own_socket,
    find_sockets,
    find_state,
)
from appliance.daemon.settings import Settings, load_settings
from appliance.errors import RecipeError
from appliance.units import GIB


def load(folder, text):
    path = folder / "daemon.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_settings(path)


@pytest.mark.parametrize("text", ["", "# only words\n", "{}", "---\n"])
def test_empty_file_means_defaults(tmp_path, text):
    assert load(tmp_path, text) == Settings()


def test_no_file_means_defaults(tmp_path):
    assert load_settings(None) == load_settings(tmp_path / "none") == Settings()


def test_settings_are_read(tmp_path):
    text = (
        "jobs_at_once: 2\nsilent_seconds: 5\nmin_free_disk_gib: 0.5\ndocument_roots: [/srv]\n"
        "inbox: {settle_seconds: 1, retune_at: 03:00}\n"
    )

    settings = load(tmp_path, text)

    assert (settings.jobs_at_once, settings.silent_seconds) == (2, 5.0)
    assert settings.min_free_disk_bytes == GIB // 2
    assert settings.document_roots == (Path("/srv"),)
    assert (settings.inbox.settle_seconds, settings.inbox.retune_at) == (1.0, "03:00")


def test_all_faults_are_told_at_once_with_the_nearest_key(tmp_path):
    text = "jobs_at_onc: 1\nspare_cores: -1\ninbox: {setle_seconds: 3}\nhang_seconds: soon\n"

    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)

    assert str(tmp_path / "daemon.yaml") in caught.value.what
    faults = caught.value.why.split("; ")
    assert "jobs_at_onc: no such key, did you mean jobs_at_once?" in faults
    assert "inbox.setle_seconds: no such key, did you mean settle_seconds?" in faults
    assert "spare_cores: input should be greater than or equal to 0" in faults
    assert any(fault.startswith("hang_seconds: input should be a valid number") for fault in faults)
    assert len(faults) == 4
    assert "docs/reference/service.md" in caught.value.fix


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("inbox: {retune_at: 22:30}", 'inbox.retune_at: a time of day is written "HH:MM"'),
        ('inbox: {retune_at: "24:00"}', 'inbox.retune_at: a time of day is written "HH:MM"'),
        ("min_free_disk_gib: .inf", "min_free_disk_gib: input should be a finite number"),
        ("min_free_memory_gib: .nan", "min_free_memory_gib: input should be a finite number"),
        ("document_roots: [docs]", "document_roots: a list of paths, each of which begins with /"),
        ("document_roots: [7]", "document_roots: a list of paths, each of which begins with /"),
        ("document_roots: srv", "document_roots: a list of paths, each of which begins with /"),
        ("- a\n- b\n", "the file: input should be a valid dictionary"),
        ("jobs_at_once", "the file: input should be a valid dictionary"),
        ("false", "the file: input should be a valid dictionary"),
        ("a: b: c", "it is not YAML: line 1"),
        ("a: [", "it is not YAML"),
        (b"a: \xff\xfe", "it is not YAML"),
        ("[" * 5000, "it is not YAML"),
        ("a: !!python/object/apply:os.system [id]", "it is not YAML"),
    ],
)
def test_fault_is_told(tmp_path, text, why):
    with pytest.raises(RecipeError) as caught:
        load(tmp_path, text)

    assert why in caught.value.why


def test_folder_in_place_of_the_file_is_told(tmp_path):
    with pytest.raises(RecipeError, match="cannot use the settings"):
        load_settings(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_may_not_be_read_is_told(tmp_path):
    path = tmp_path / "daemon.yaml"
    path.write_text("{}")
    path.chmod(0)

    with pytest.raises(RecipeError, match="Permission denied"):
        load_settings(path)


def test_service_manager_names_the_folders():
    environment = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "RUNTIME_DIRECTORY": "/run/a"}

    state = find_state(environment)

    assert state == StateFolder(path=Path("/var/lib/a"))
    assert find_own_socket(state, environment) == Path("/run/a/control.sock")


def test_person_has_folders_of_their_own():
    state = find_state({})
    runtime = {"XDG_RUNTIME_DIR": "/run/user/7"}

    assert state.path.parts[-2:] == ("appliance", "service")
    assert find_own_socket(state, {}) == state.path / "control.sock"
    assert find_own_socket(state, runtime) == Path("/run/user/7/appliance/control.sock")
    assert find_sockets({}) == (state.path / "control.sock", SYSTEM_SOCKET)
    assert find_sockets(runtime) == (Path("/run/user/7/appliance/control.sock"), SYSTEM_SOCKET)


def test_socket_can_be_named_or_shut_out():
    assert find_sockets({"APPLIANCE_SOCKET": "/x"}) == (Path("/x"),)
    assert find_sockets({"APPLIANCE_SOCKET": ""}) == ()

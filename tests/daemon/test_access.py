"""Who may do what. Oracle: the kernel's word about a peer, and the rules of decision 0013."""

from __future__ import annotations

import grp
import os
import socket

import pytest

from appliance.daemon.access import (
    Peer,
    find_group,
    identify,
    is_admin,
    may_connect,
    require_base,
    resolve_documents,
)
from appliance.daemon.paths import StateFolder
from appliance.daemon.settings import Settings
from appliance.errors import ServiceError

STRANGER = Peer(uid=65_533, groups=frozenset({65_533}))
ADMIN = Peer(uid=os.geteuid(), groups=frozenset())
OWN_GROUP = grp.getgrgid(os.getegid()).gr_name


@pytest.fixture
def state(tmp_path):
    state = StateFolder(path=tmp_path / "state")
    for folder in (state.documents / "65533" / "own", state.documents / "7" / "other", state.runs):
        folder.mkdir(parents=True)
    return state


def may_read(path, state, peer=STRANGER, **settings):
    try:
        return resolve_documents(path, peer, state, Settings(**settings)) == path.resolve()
    except ServiceError:
        return False


def test_kernel_tells_who_is_at_the_other_end():
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with here, there:
        peer = identify(here)

    assert peer.uid == os.geteuid()
    assert peer.groups >= {os.getegid(), *os.getgroups()}


@pytest.mark.skipif(os.geteuid() != 0, reason="joining groups needs root")
@pytest.mark.parametrize("number", [1, 100, 256])
def test_kernel_tells_all_groups_of_the_other_end(number):
    groups = os.getgroups()
    os.setgroups(range(2000, 2000 + number))
    try:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    finally:
        os.setgroups(groups)
    with here, there:
        peer = identify(here)

    assert peer.groups >= set(range(2000, 2000 + number))


def test_administrators_are_root_the_service_itself_and_the_members_of_a_group():
    settings = Settings(admins_group=OWN_GROUP)

    assert is_admin(Peer(uid=0, groups=frozenset()), settings)
    assert is_admin(ADMIN, settings)
    assert is_admin(Peer(uid=7, groups=frozenset({os.getegid()})), settings)
    assert not is_admin(STRANGER, settings)


def test_users_are_the_members_of_a_group():
    assert may_connect(
        Peer(uid=7, groups=frozenset({os.getegid()})), Settings(users_group=OWN_GROUP)
    )
    assert not may_connect(STRANGER, Settings(users_group=OWN_GROUP))


def test_group_that_is_not_there_lets_nobody_in():
    settings = Settings(users_group="no-such-group", admins_group="")

    assert find_group("no-such-group") is None
    assert not may_connect(STRANGER, settings)


def test_administrator_may_have_any_folder_read(tmp_path, state):
    assert may_read(tmp_path, state, ADMIN)
    assert may_read(state.documents / "7" / "other", state, ADMIN)


def test_user_may_have_no_folder_read_in_place_but_own_copies(tmp_path, state):
    assert may_read(state.documents / "65533" / "own", state)
    assert not may_read(tmp_path, state)
    assert not may_read(state.documents / "7" / "other", state)
    assert not may_read(state.documents / "65533" / ".." / "7" / "other", state)
    assert not may_read(state.documents, state)
    assert not may_read(state.runs, state)


def test_open_root_is_open_to_all_but_what_a_link_in_it_leads_to(tmp_path, state):
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    (tmp_path / "root-of-another-name").mkdir()
    (root / "link").symlink_to(tmp_path)

    assert may_read(root, state, document_roots=(root,))
    assert may_read(root / "docs", state, document_roots=(root,))
    assert not may_read(root / "link", state, document_roots=(root,))
    assert not may_read(root / "..", state, document_roots=(root,))
    assert not may_read(tmp_path / "root-of-another-name", state, document_roots=(root,))


def test_root_above_the_state_opens_nothing_in_it(tmp_path, state):
    roots = {"document_roots": (tmp_path,)}
    (tmp_path / "docs").mkdir()

    assert may_read(tmp_path / "docs", state, **roots)
    assert may_read(state.documents / "65533" / "own", state, **roots)
    assert not may_read(state.documents / "7" / "other", state, **roots)
    assert not may_read(state.runs, state, **roots)
    assert not may_read(tmp_path, state, **roots), "the state lies in it"


def test_folder_that_is_not_there_has_to_be_handed_over(tmp_path, state):
    with pytest.raises(ServiceError, match="cannot read"):
        resolve_documents(tmp_path / "none", ADMIN, state, Settings())


@pytest.mark.parametrize("base", [None, "embedded", "Qwen/Qwen3-0.6B", "a.b"])
def test_user_may_name_a_base(state, base):
    require_base(base, STRANGER, state, Settings())


@pytest.mark.parametrize(
    "base", ["/etc", "../model", "./model", ".", "~/model", "~nobody-of-this-name", "a/../../b"]
)
def test_user_may_not_name_a_base_by_a_path_of_others(state, base):
    with pytest.raises(ServiceError, match="base model"):
        require_base(base, STRANGER, state, Settings())

    require_base(base, ADMIN, state, Settings())


def test_user_may_not_name_a_folder_where_the_service_happens_to_stand(
    tmp_path, state, monkeypatch
):
    (tmp_path / "private" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ServiceError, match="base model"):
        require_base("private/model", STRANGER, state, Settings())


def test_user_may_name_imported_bases_and_those_in_open_roots_by_path(tmp_path, state):
    (tmp_path / "root" / "model").mkdir(parents=True)
    settings = Settings(document_roots=(tmp_path / "root",))

    require_base(str(state.bases / "model"), STRANGER, state, settings)
    require_base(str(tmp_path / "root" / "model"), STRANGER, state, settings)
    with pytest.raises(ServiceError):
        require_base(
            str(state.runs / "x" / "merge"), STRANGER, state, Settings(document_roots=("/",))
        )

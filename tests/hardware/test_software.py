"""Versions and their faults. Oracle: the installed packages, and SQLite's own list of versions."""

import importlib.metadata
import sqlite3
import sys

import pytest

from appliance.hardware.software import (
    find_software_faults,
    find_version,
    is_sqlite_sound,
    parse_version,
    read_software,
)
from appliance.hardware.support import find_cuda_support
from appliance.values import Software


def make_software(**changes):
    software = read_software(find_cuda_support())
    return software.model_copy(update={"versions": software.versions | changes})


def find(software, environment=None):
    return [finding.what for finding in find_software_faults(software, environment)]


def test_versions_are_those_of_the_installed_packages():
    versions = read_software(find_cuda_support()).versions

    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["sqlite"] == sqlite3.sqlite_version
    assert versions["torch"] == importlib.metadata.version("torch")


def test_second_name_of_a_package_counts():
    assert find_version("no-such-package", "torch") == importlib.metadata.version("torch")
    assert find_version("no-such-package") == ""


@pytest.mark.parametrize(
    ("version", "is_sound"),
    [
        ("3.40.1", False),
        ("3.44.5", False),
        ("3.44.6", True),
        ("3.45.0", False),
        ("3.50.4", False),
        ("3.50.7", True),
        ("3.51.2", False),
        ("3.51.3", True),
        ("3.52.0", True),
        ("3.53.0", True),
        ("3.54.1", True),
    ],
)
def test_sqlite_with_the_wal_reset_bug_is_known(version, is_sound):
    """Oracle: https://sqlite.org/wal.html: 3.7.0 to 3.51.2, less 3.44.6 and 3.50.7."""
    assert is_sqlite_sound(parse_version(version)) is is_sound


def test_bad_sqlite_is_a_finding_and_a_good_one_is_none():
    assert "wal-reset bug" in find(make_software(sqlite="3.40.1"))[0]
    assert find(make_software(sqlite="3.53.0")) == []


@pytest.mark.parametrize(
    ("version", "environment", "is_found"),
    [
        ("1.32.0", {}, True),
        ("1.29.0", {"CI": "1"}, True),
        ("1.28.1", {}, False),
        ("1.32.0", {"ORT_DISABLE_TELEMETRY": "1"}, False),
        ("1.32.0", None, False),
    ],
)
def test_telemetry_of_the_environment_is_found(version, environment, is_found):
    found = find(make_software(sqlite="3.53.0", onnxruntime=version), environment)

    assert bool(found) is is_found


def test_missing_packages_are_named():
    software = Software(versions={"torch": "2.13.0"}, torch_build="cpu")

    assert find(software)[0].startswith("not installed: transformers, peft, bitsandbytes")


@pytest.mark.parametrize(
    ("text", "version"), [("2.13.0+cpu", (2, 13, 0)), ("3.40.1", (3, 40, 1)), ("dev", ()), ("", ())]
)
def test_version_is_its_leading_numbers(text, version):
    assert parse_version(text) == version

"""The speed of a disk. Oracle: bytes that can have been written, and what is left behind."""

import os
from pathlib import Path

import pytest

from appliance.hardware.disk import measure_disk_write
from appliance.units import MIB


def test_speed_is_measured_and_nothing_is_left(tmp_path):
    speed = measure_disk_write(tmp_path / "runs" / "not" / "there", max_bytes=16 * MIB)

    assert 0 < speed < 1e12
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_cannot_be_written_has_no_speed(tmp_path):
    tmp_path.chmod(0o500)

    assert measure_disk_write(tmp_path) == 0


def test_folder_of_the_system_that_takes_no_files_has_no_speed():
    assert measure_disk_write(Path("/proc/self")) == 0

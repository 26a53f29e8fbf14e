"""Limits of cgroups. Oracle: the kernel's documentation of both versions, worked out by hand."""

import math
from pathlib import Path

import pytest

from appliance import cgroup

MOUNTS_V2 = (
    "21 98 0:19 / /proc rw - proc proc rw\n31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
)
MOUNTS_V1 = (
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)


def write_tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_memory_limit_of_version_2_is_the_tightest_of_the_nested_groups(tmp_path):
    system = write_tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/system.slice/appliance.service\n",
            "proc/self/mountinfo": MOUNTS_V2,
            "sys/fs/cgroup/system.slice/memory.max": "8000\n",
            "sys/fs/cgroup/system.slice/memory.current": "6500\n",
            "sys/fs/cgroup/system.slice/memory.stat": "anon 5000\ninactive_file 500\n",
            "sys/fs/cgroup/system.slice/appliance.service/memory.max": "4000\n",
            "sys/fs/cgroup/system.slice/appliance.service/memory.current": "1000\n",
        },
    )
    limit = cgroup.read_memory_limit(system)
    assert limit.total_bytes == 4000  # of the service
    assert limit.free_bytes == 8000 - 6500 + 500  # of the slice: less is left there


def test_memory_limit_is_none_when_version_2_says_max(tmp_path):
    system = write_tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice\n",
            "proc/self/mountinfo": MOUNTS_V2,
            "sys/fs/cgroup/user.slice/memory.max": "max\n",
        },
    )
    assert cgroup.read_memory_limit(system) == cgroup.MemoryLimit()


def test_memory_limit_of_version_1_counts_file_cache_as_free(tmp_path):
    system = write_tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n",
            "proc/self/mountinfo": MOUNTS_V1,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "2000\n",
            "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": "1500\n",
            "sys/fs/cgroup/memory/docker/abc/memory.stat": "total_inactive_file 700\n",
        },
    )
    limit = cgroup.read_memory_limit(system)
    assert (limit.total_bytes, limit.free_bytes) == (2000, 1200)


def test_memory_limit_is_found_when_only_a_part_of_the_tree_is_mounted(tmp_path):
    system = write_tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n",
            "proc/self/mountinfo": MOUNTS_V1.replace("0:32 /", "0:32 /docker/abc"),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "3000\n",
        },
    )
    assert cgroup.read_memory_limit(system).total_bytes == 3000


def test_core_limit_of_version_2_is_quota_by_period(tmp_path):
    system = write_tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b\n",
            "proc/self/mountinfo": MOUNTS_V2,
            "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
        },
    )
    assert cgroup.read_core_limit(system) == 1.5


def test_core_limit_of_version_1_is_quota_by_period(tmp_path):
    system = write_tree(
        tmp_path,
        {
            "proc/self/cgroup": "1:cpu,cpuacct:/docker/abc\n",
            "proc/self/mountinfo": MOUNTS_V1,
            "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "400000\n",
            "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    )
    assert cgroup.read_core_limit(system) == 4.0


def test_limits_are_none_when_proc_cannot_be_read(tmp_path):
    assert cgroup.read_memory_limit(tmp_path) == cgroup.MemoryLimit()
    assert cgroup.read_core_limit(tmp_path) == math.inf


def test_a_path_that_climbs_out_of_the_mount_is_not_followed(tmp_path):
    system = write_tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/../../etc\n",
            "proc/self/mountinfo": MOUNTS_V2,
            "sys/fs/cgroup/memory.max": "77\n",
        },
    )
    assert cgroup.read_memory_limit(system).total_bytes == 77


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4096\n", 4096), ("max", None), ("", None), ("9223372036854771712", None), ("-1", None)],
)
def test_limit_is_parsed(text, expected):
    assert cgroup.parse_limit(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("50000 100000", 0.5), ("max 100000", math.inf), ("-1 100000", math.inf), ("", math.inf)],
)
def test_quota_is_parsed(text, expected):
    assert cgroup.parse_quota(text) == expected


def test_memberships_name_every_controller_of_a_joint_hierarchy():
    text = "9:name=systemd:/init\n1:cpu,cpuacct:/a\n0::/b\nrubbish\n"
    assert cgroup.parse_memberships(text) == {
        "name=systemd": "/init",
        "cpu": "/a",
        "cpuacct": "/a",
        "": "/b",
    }

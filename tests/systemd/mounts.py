"""What a test machine sees: the commands that build its file system before systemd starts."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

from tests.conftest import ROOT
from tests.systemd.groups import CONTROLLERS, find_controllers, find_hierarchy

STOCK_UNITS = (
    "basic.target", "sysinit.target", "sockets.target", "timers.target", "paths.target",
    "slices.target", "local-fs.target", "swap.target", "multi-user.target", "network.target",
    "shutdown.target", "umount.target", "final.target", "reboot.target", "poweroff.target",
    "systemd-poweroff.service", "systemd-reboot.service", "systemd-journald.service",
    "systemd-journald.socket",
)  # fmt: skip
"""What a machine needs of the host's units."""

PYTHON = "/opt/environment/bin/python"
"""The tests' Python inside the machine; `import appliance` gives this checkout."""

CHECKOUT = "/opt/checkout"
"""This checkout inside the machine."""

WRITABLE = {"etc": "/etc", "var": "/var", "opt": "/opt", "local": "/usr/local"}
"""Folders that can be written inside, by the name of their layer."""

DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "loop-control")


def write_script(folder: Path, *, limits: bool) -> str:
    """What the first process does inside its namespaces before it becomes systemd."""
    lines = [
        *("set -o errexit", "mount -t tmpfs -o mode=755 tmpfs /run"),
        "mkdir -p /run/lock /run/host /run/stock",
        f"mount --bind {shlex.quote(str(folder / 'host'))} /run/host",
        f"mount --bind {shlex.quote(str(folder / 'stock'))} /run/stock",
        *(_overlay(folder, name, place) for name, place in WRITABLE.items()),
        *_mount_units(folder),
        *_mount_python(folder),
        *_mount_devices(),
        *("mount -t tmpfs -o mode=1777,size=2g tmpfs /tmp", "mount -o remount,bind,ro /"),
        "mount -o remount,bind,ro /sys",
        *_mount_groups(limits),
        *("mount -t proc proc /proc", "mount --bind /proc/sys /proc/sys"),
        "mount -o remount,bind,ro /proc/sys",
        *("hostname appliance-test", "ip link set lo up || true"),
        f"exec env -i container=appliance-test NOTIFY_SOCKET=/run/host/notify "
        f"{' '.join(list_variables())} {find_systemd()} --system --unit=multi-user.target "
        "--show-status=no --log-target=journal",
    ]
    return "\n".join(lines)


def _overlay(folder: Path, name: str, lower: str, target: str = "") -> str:
    """A command that lays a writable layer over a folder, there or at another place."""
    upper, work = folder / f"upper-{name}", folder / f"work-{name}"
    upper.mkdir(exist_ok=True)
    work.mkdir(exist_ok=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    return f"mount -t overlay -o {shlex.quote(options)} overlay {target or lower}"


def _mount_units(folder: Path) -> list[str]:
    """An /etc/systemd/system of the machine's own; the journal runs, and keeps itself in memory."""
    wants = folder / "units" / "sysinit.target.wants"
    wants.mkdir(exist_ok=True)
    for name in ("systemd-journald.service", "systemd-journald.socket"):
        with contextlib.suppress(FileExistsError):
            (wants / name).symlink_to(f"/run/stock/{name}")
    return [
        f"mount --bind {shlex.quote(str(folder / 'units'))} /etc/systemd/system",
        "mkdir -p /etc/systemd/journald.conf.d /run/log/journal",
        "printf '[Journal]\\nStorage=volatile\\nRateLimitBurst=0\\nReadKMsg=no\\n' "
        "> /etc/systemd/journald.conf.d/test.conf",
    ]


def _mount_python(folder: Path) -> list[str]:
    """The tests' Python, its packages and this checkout, below /opt."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = f"/opt/environment/lib/{version}/site-packages"
    base = Path(sys.base_prefix)
    python = base if base.is_relative_to("/usr") else Path("/opt/python")
    return [
        f"mkdir -p /opt/python {CHECKOUT} {packages} /opt/environment/bin",
        *_show(base, "/opt/python"),
        *_show(ROOT, CHECKOUT),
        _overlay(folder, "packages", sysconfig.get_path("purelib"), packages),
        # Of an editable installation in the tests' environment: it would show the host's checkout.
        f"rm -rf {packages}/_appliance.pth {packages}/appliance-*.dist-info",
        f"echo {CHECKOUT} > {packages}/checkout.pth",
        f"ln -sfn {python}/bin/{version} {PYTHON}",
        f"echo 'home = {python}/bin' > /opt/environment/pyvenv.cfg",
        # A Python with a shared library looks for it where it was built: show the new place.
        "echo /opt/python/lib > /etc/ld.so.conf.d/0-test.conf && ldconfig -X",
    ]


def _show(folder: Path, target: str) -> list[str]:
    """Commands that show a folder of the host at another place, to read."""
    source = shlex.quote(str(folder))
    return [f"mount --bind {source} {target}", f"mount -o remount,bind,ro {target}"]


def _mount_devices() -> list[str]:
    """A /dev of the machine's own, with devices that do nothing, and two that must stay closed."""
    return [
        "mkdir /run/dev && mount -t tmpfs -o mode=755 tmpfs /run/dev",
        f"for name in {' '.join(DEVICES)}; do [ -e /dev/$name ] || continue; "
        "touch /run/dev/$name; mount --bind /dev/$name /run/dev/$name; done",
        "for name in console kmsg; do touch /run/dev/$name; "
        "mount --bind /dev/null /run/dev/$name; done",
        "mkdir /run/dev/pts /run/dev/shm",
        "mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts /run/dev/pts",
        "mount -t tmpfs -o mode=1777 tmpfs /run/dev/shm",
        "ln -s pts/ptmx /run/dev/ptmx && ln -s /proc/self/fd /run/dev/fd",
        "mount --move /run/dev /dev",
    ]


def _mount_groups(limits: bool) -> list[str]:
    """Control groups as the machine sees them: its own group is the root."""
    hierarchy = find_hierarchy()
    assert hierarchy is not None
    if not limits or find_controllers(hierarchy) == [hierarchy]:
        return ["umount -R /sys/fs/cgroup", "mount -t cgroup2 cgroup2 /sys/fs/cgroup"]
    mounts = [
        f"mkdir /sys/fs/cgroup/{name} && mount -t cgroup -o {name} cgroup /sys/fs/cgroup/{name}"
        for name in CONTROLLERS
    ]
    return [
        "umount -R /sys/fs/cgroup",
        "mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup",
        *mounts,
        "mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified",
        "mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd",
        "mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
    ]


def list_variables() -> list[str]:
    """Environment of systemd and of every command inside."""
    return [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system:/run/stock",
        "SYSTEMD_COLORS=0",
        "LANG=C.UTF-8",
    ]


def copy_stock_units(folder: Path) -> None:
    """Take from the host what a machine needs of its units."""
    for name in STOCK_UNITS:
        for place in (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system")):
            if (place / name).is_file():
                shutil.copyfile(place / name, folder / name)
                break


def find_systemd() -> Path | None:
    """The program itself; None where there is none."""
    places = (Path("/usr/lib/systemd/systemd"), Path("/lib/systemd/systemd"))
    return next((path for path in places if path.exists()), None)

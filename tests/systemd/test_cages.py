"""What the trainer and the parser can reach from inside their units: almost nothing.

Errors that mean "no" differ: EACCES and EPERM by permission, EROFS by a read-only mount, ENOENT
because it is not there at all, EAFNOSUPPORT by the filter on address families.
"""

import pytest

from tests.systemd.cage import look_inside, open_cages

NO = {"EACCES", "EPERM", "EROFS", "ENOENT", "EAFNOSUPPORT", "ENXIO"}

FAMILIES = ("AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK")

PRIVATE = (
    "/var/lib/appliance/queue.sqlite3",
    "/var/lib/appliance/queue.sqlite3-wal",
    "/etc/shadow",
    "/root/secret",
    "/home/person/secret",
    "/tmp/secret",
)
"""Files that exist on the machine, and that neither unit may read."""


@pytest.fixture(scope="module")
def cages(shared_service):
    machine = shared_service
    machine.run("mkdir", "-p", "/var/lib/appliance/runs/one")
    machine.run("tee", "/var/lib/appliance/runs/one/text", text="private")
    machine.run("chown", "-R", "appliance:", "/var/lib/appliance/runs/one")
    machine.run("tee", "/tmp/secret", text="private")
    open_cages(machine)
    return machine


@pytest.mark.parametrize("unit", ["trainer", "parser"])
def test_unit_makes_no_socket_to_anywhere(cages, unit):
    code = f"""
tell({{name: try_to(lambda: socket.socket(getattr(socket, name), socket.SOCK_DGRAM))
      for name in {FAMILIES}}})
"""
    answer = look_inside(cages, unit, code)

    assert set(answer) == set(FAMILIES)
    assert set(answer.values()) <= NO, answer


@pytest.mark.parametrize("unit", ["trainer", "parser"])
def test_unit_has_no_network_interface_but_its_own_loopback(cages, unit):
    code = 'tell([line.split(":")[0].strip() for line in open("/proc/self/net/dev")][2:])'

    assert look_inside(cages, unit, code) == ["lo"]


@pytest.mark.parametrize("unit", ["trainer", "parser"])
def test_unit_reads_no_private_file(cages, unit):
    answer = look_inside(cages, unit, f"tell({{p: try_to(read, p) for p in {PRIVATE}}})")

    assert set(answer.values()) <= NO, answer


@pytest.mark.parametrize("unit", ["trainer", "parser"])
def test_unit_gains_no_power(cages, unit):
    code = """
tell({
    "mount": try_to(call, "mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "user namespace": try_to(call, "unshare", 0x10000000),
    "network namespace": try_to(call, "unshare", 0x40000000),
    "root": try_to(os.setuid, 0),
    "trace": try_to(call, "ptrace", 16, 1, 0, 0),
    "reboot": try_to(call, "reboot", 0xFEE1DEAD),
    "clock": try_to(lambda: __import__("time").clock_settime(0, 0)),
    "nice": try_to(os.nice, -1),
    "fuse": try_to(os.open, "/dev/fuse", os.O_RDWR),
    "loop device": try_to(os.open, "/dev/loop-control", os.O_RDWR),
    "device node": try_to(os.mknod, "/tmp/node", 0o20600, os.makedev(1, 1)),
})
"""
    answer = look_inside(cages, unit, code)

    assert set(answer.values()) <= NO, answer


@pytest.fixture
def cages_of_root(cages):
    """The same units, but with root in them: what is denied now, no file mode denies."""
    open_cages(cages, "User=root\nDynamicUser=no\n")
    yield cages
    open_cages(cages)


@pytest.mark.parametrize("unit", ["trainer", "parser"])
def test_unit_opens_no_device_that_is_not_listed_though_root_asks(cages_of_root, unit):
    code = """
names = ("zero", "fuse", "loop-control")
tell([os.getuid(), *(try_to(read, f"/dev/{name}") for name in names)])
"""

    user, listed, *others = look_inside(cages_of_root, unit, code)

    assert (user, listed) == (0, "done")
    assert set(others) <= {"EPERM", "ENOENT"}


@pytest.mark.parametrize("unit", ["trainer", "parser"])
def test_unit_runs_nothing_that_it_has_written(cages, unit):
    code = """
import shutil, subprocess
def run(path):
    shutil.copy("/usr/bin/true", path)
    os.chmod(path, 0o755)
    subprocess.run([path], check=True)
tell({place: try_to(run, f"{place}/program") for place in ("/tmp", "/var/tmp", "/dev/shm")})
"""
    answer = look_inside(cages, unit, code)

    assert set(answer.values()) == {"EACCES"}, answer


def test_trainer_writes_runs_and_cache_and_nothing_else(cages):
    allowed = ("/var/lib/appliance/runs/one/x", "/var/cache/appliance/x", "/tmp/x")
    forbidden = (
        "/var/lib/appliance/x",
        "/var/lib/appliance/inbox/x",
        "/etc/x",
        "/opt/appliance/x",
        "/usr/x",
        "/var/log/x",
        "/var/x",
        "/run/x",
        "/sys/fs/cgroup/cgroup.procs",
        "/proc/sys/kernel/hostname",
    )
    code = f"tell({{path: try_to(write, path) for path in {allowed + forbidden}}})"

    answer = look_inside(cages, "trainer", code)

    assert {answer[path] for path in allowed} == {"done"}
    assert {answer[path] for path in forbidden} <= NO, answer


def test_trainer_reaches_the_parser_but_not_the_daemon(cages):
    paths = [f"/run/appliance/{name}.sock" for name in ("parser", "control", "trainer")]

    answer = look_inside(cages, "trainer", f"tell({{p: try_to(connect, p) for p in {paths}}})")

    assert list(answer.values()) == ["done", "EACCES", "EACCES"]


def test_trainer_keeps_to_its_cores_when_asked(cages):
    code = "os.sched_setaffinity(0, {0}); tell(sorted(os.sched_getaffinity(0)))"

    assert look_inside(cages, "trainer", code) == [0]


def test_parser_sees_its_program_and_an_otherwise_empty_machine(cages):
    answer = look_inside(cages, "parser", 'tell({p: os.listdir(p) for p in ("/", "/etc", "/var")})')

    roots = set(answer["/"]) - {"lib", "lib64", "usr", "opt"}
    assert roots <= {"dev", "etc", "proc", "root", "run", "sys", "tmp", "var"}
    assert answer["/etc"] == ["ld.so.cache"]
    assert answer["/var"] == ["tmp"]


def test_parser_reads_a_file_that_is_handed_to_it_though_it_may_not_open_it(cages):
    path = cages.open("/var/lib/appliance/runs/one/text")
    code = """
_, (file,), _, _ = socket.recv_fds(socket.socket(fileno=os.dup(0)), 1, 1)
tell([os.read(file, 9).decode(), try_to(read, "/var/lib/appliance/runs/one/text")])
"""
    with path.open("rb") as file:
        answer = look_inside(cages, "parser", code, descriptors=(file.fileno(),))

    assert answer == ["private", "ENOENT"]


def test_parser_is_nobody_that_the_machine_knows(cages):
    uid, groups = look_inside(cages, "parser", "tell([os.getuid(), os.getgroups()])")

    appliance = int(cages.run("id", "--user", "appliance").stdout)
    assert uid not in (0, appliance)
    assert groups in ([], [uid])


def test_parser_makes_no_memory_executable(cages):
    code = """
import mmap
tell(try_to(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)))
"""
    assert look_inside(cages, "parser", code) in NO

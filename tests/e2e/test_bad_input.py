"""What goes wrong is said in three lines (what, why, fix), with an exit code, and loses nothing."""

import contextlib
import os
import shutil
import subprocess
import time

import pytest

from tests.e2e.conftest import SMALL, build_command, run_appliance


def expect_error(done, exit_code, *fragments):
    """Exit code, three parts, no traceback, and every fragment in the message."""
    assert done.returncode == exit_code, done.stderr
    assert done.stderr.count("error: ") == 1
    assert "\nwhy:   " in done.stderr
    assert "\nfix:   " in done.stderr
    assert "Traceback" not in done.stderr
    for fragment in fragments:
        assert fragment in done.stderr


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def test_missing_folder(runs):
    expect_error(run_appliance("tune", "/no/such/folder", "--runs", runs), 4, "/no/such/folder")


def test_file_in_place_of_a_folder(runs, tmp_path):
    (tmp_path / "one.md").write_text("text")

    expect_error(run_appliance("tune", tmp_path / "one.md", "--runs", runs), 4)


def test_empty_folder(runs, tmp_path):
    (tmp_path / "empty").mkdir()

    expect_error(run_appliance("tune", tmp_path / "empty", "--runs", runs), 4)
    assert not runs.exists()


def test_folder_with_nothing_readable(runs, tmp_path):
    folder = tmp_path / "binary"
    folder.mkdir()
    (folder / "a.dat").write_bytes(os.urandom(4000))
    (folder / "b.docx").write_bytes(b"PK\x03\x04 not really")

    expect_error(run_appliance("tune", folder, "--runs", runs), 4)
    assert not list(runs.glob("*/bundle"))


def test_too_little_text(runs, tmp_path):
    folder = tmp_path / "short"
    folder.mkdir()
    (folder / "a.md").write_text("# Hello\n\nOne sentence is not enough to learn from.\n")

    expect_error(run_appliance("tune", folder, "--runs", runs), 4)


def test_runs_folder_that_cannot_be_written(documents, tmp_path):
    (tmp_path / "taken").write_text("a file")

    expect_error(run_appliance("tune", documents, "--runs", tmp_path / "taken"), 6, "taken")


def test_base_that_is_not_there(documents, runs):
    done = run_appliance("tune", documents, "--base", "some-org/some-model", "--runs", runs)

    expect_error(done, 5, "some-org/some-model")


def test_base_that_is_a_pickle(documents, runs, small_base, tmp_path):
    base = tmp_path / "pickled"
    shutil.copytree(small_base, base)
    (base / "model.safetensors").rename(base / "pytorch_model.bin")

    expect_error(run_appliance("tune", documents, "--base", base, "--runs", runs), 5, "safetensors")


def test_unknown_recipe_key_names_the_nearest(documents, runs):
    done = run_appliance("tune", documents, "--set", "tune.rnak=8", "--runs", runs)

    expect_error(done, 3, "tune.rnak", "tune.rank")


def test_unknown_verb():
    done = run_appliance("tnue", "x")

    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_sequence_length_that_needs_more_memory_than_there_is(documents, runs, small_base):
    done = run_appliance(
        "tune", documents, "--base", small_base, "--runs", runs,
        "--set", "tune.method=full", "--set", "tune.sequence_length=1000000000",
    )  # fmt: skip

    assert done.returncode in (3, 6), done.stderr
    assert "fix:   " in done.stderr


def test_too_little_disk(documents, small_base, tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        done = run_appliance(
            "tune", documents, "--base", small_base, "--runs", mount / "runs", *SMALL
        )
        expect_error(done, 6, "disk")
        assert not list(mount.glob("runs/*/bundle"))
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@pytest.mark.parametrize("verb", ["verify", "chat"])
def test_bundle_that_is_not_there(verb, tmp_path):
    extra = ["-m", "Hello"] if verb == "chat" else []

    expect_error(run_appliance(verb, tmp_path / "nothing", *extra), 10, "nothing")


def test_bundle_with_a_flipped_bit_names_the_file(finished, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(finished["bundle"], bundle)
    weights = bundle / "model.onnx.data"
    body = bytearray(weights.read_bytes())
    body[len(body) // 3] ^= 1
    weights.write_bytes(bytes(body))

    expect_error(run_appliance("verify", bundle), 10, "model.onnx.data")


@pytest.mark.slow
def test_disk_that_fills_up_while_it_learns_is_said_and_loses_nothing(
    documents, small_base, tmp_path
):
    mount = tmp_path / "filling"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(mount)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    arguments = ("tune", documents, "--base", small_base, "--runs", mount / "runs", *SMALL)
    process = subprocess.Popen(
        build_command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 200
        while not list(mount.glob("runs/*/tune.partial/rates.json")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
        with contextlib.suppress(OSError), (mount / "ballast").open("wb") as ballast:
            while True:
                ballast.write(bytes(2**16))
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 6, errors
        assert "disk" in errors
        assert "Traceback" not in errors
        (mount / "ballast").unlink()

        again = run_appliance(*arguments, "--json")

        assert again.returncode == 0, again.stderr
    finally:
        process.kill()
        process.wait()
        subprocess.run(["umount", str(mount)], check=True)

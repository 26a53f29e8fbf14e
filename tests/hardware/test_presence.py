"""Signs of cards and driver, in file systems that were laid out like real ones."""

import pytest

from appliance.hardware.presence import count_nvidia_cards, has_nvidia


def add_card(folder, slot, vendor, kind):
    device = folder / "sys/bus/pci/devices" / slot
    device.mkdir(parents=True)
    (device / "vendor").write_text(vendor + "\n")
    (device / "class").write_text(kind + "\n")


def test_cards_on_the_bus_are_counted(tmp_path):
    add_card(tmp_path, "0000:01:00.0", "0x10de", "0x030000")  # display
    add_card(tmp_path, "0000:01:00.1", "0x10de", "0x040300")  # its sound
    add_card(tmp_path, "0000:02:00.0", "0x10de", "0x030200")  # compute without a display
    add_card(tmp_path, "0000:03:00.0", "0x8086", "0x030000")  # another maker's

    assert count_nvidia_cards(tmp_path) == 2
    assert has_nvidia(tmp_path)


def test_machine_without_cards_is_not_asked(tmp_path):
    assert not has_nvidia(tmp_path)
    assert count_nvidia_cards(tmp_path) == 0


@pytest.mark.parametrize("name", ["dev/nvidiactl", "dev/dxg", "sys/module/nvidia"])
def test_driver_without_a_bus_is_asked(tmp_path, name):
    (tmp_path / name).mkdir(parents=True)

    assert has_nvidia(tmp_path)

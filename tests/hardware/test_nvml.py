"""What is asked of NVIDIA's driver. Oracle: the answers of a stand-in with the documented API."""

import pytest

from appliance.hardware.nvml import Holder, ask_driver, read_driver
from tests.hardware.fake_nvml import DRIVER_NOT_LOADED, GIB, LOST, NOT_SUPPORTED, FakeNvml

OPTIONAL = [
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetName",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetGraphicsRunningProcesses",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlSystemGetDriverVersion",
    "nvmlSystemGetCudaDriverVersion_v2",
    "nvmlSystemGetProcessName",
    "nvmlShutdown",
]


def test_card_is_described_with_all_that_the_driver_says():
    nvml = FakeNvml(processes=[(8, GIB), (7, 3 * GIB)], ecc=2, reasons=0x1 | 0x20 | 0x40)

    driver = read_driver(nvml)

    card = driver.cards[0]
    assert (driver.version, driver.cuda, driver.fault) == ("580.95.05", 12080, "")
    assert (card.name, card.uuid) == ("NVIDIA H100 80GB HBM3", "GPU-0abc")
    assert (card.total_bytes, card.free_bytes, card.capability) == (24 * GIB, 20 * GIB, (9, 0))
    assert (card.power_limit_watts, card.temperature_celsius, card.ecc_errors) == (350.5, 41, 2)
    assert card.slowdown == "heat"
    assert nvml.is_shut


def test_programs_are_named_without_folder_and_arguments_largest_first():
    (card, _) = read_driver(FakeNvml(processes=[(8, GIB), (7, 3 * GIB)])).cards

    assert card.holders == (
        Holder(pid=7, name="python3", used_bytes=3 * GIB),
        Holder(pid=8, name="Xorg", used_bytes=GIB),
    )


def test_program_whose_memory_is_hidden_counts_as_zero():
    (card, _) = read_driver(FakeNvml(processes=[(8, None)])).cards

    assert card.holders == (Holder(pid=8, name="Xorg", used_bytes=0),)


def test_divided_card_lists_its_slices():
    card, other = read_driver(FakeNvml(slices=[10, 5])).cards

    assert card.is_divided and not other.is_divided
    assert [(part.uuid, part.total_bytes // GIB) for part in card.slices] == [
        ("MIG-0abc", 10),
        ("MIG-1abc", 5),
    ]
    assert card.slices[0].free_bytes == 9 * GIB


@pytest.mark.parametrize("question", OPTIONAL)
def test_card_stays_when_the_driver_cannot_answer_a_question(question):
    nvml = FakeNvml(fails={question: NOT_SUPPORTED}, processes=[(7, GIB)], slices=[5])

    driver = read_driver(nvml)

    assert len(driver.cards) == 2
    assert not driver.fault


@pytest.mark.parametrize("question", OPTIONAL)
def test_card_stays_when_the_library_is_too_old_for_a_question(question):
    class OldNvml(FakeNvml):
        def __getattribute__(self, name):
            if name == question:
                raise AttributeError(name)
            return super().__getattribute__(name)

    assert len(read_driver(OldNvml(processes=[(7, GIB)])).cards) == 2


def test_older_question_for_the_temperature_is_the_second_choice():
    nvml = FakeNvml(fails={"nvmlDeviceGetTemperatureV": NOT_SUPPORTED})

    assert read_driver(nvml).cards[0].temperature_celsius == 42


def test_missing_driver_is_a_fault_in_its_own_words():
    driver = read_driver(FakeNvml(fails={"nvmlInit": DRIVER_NOT_LOADED}))

    assert driver.cards == ()
    assert driver.fault == "nvmlInit failed"


def test_lost_card_is_counted_and_left_out():
    driver = read_driver(FakeNvml(fails={"nvmlDeviceGetMemoryInfo": LOST}))

    assert (driver.cards, driver.num_lost) == ((), 2)


def test_card_without_memory_of_its_own_says_so():
    driver = read_driver(FakeNvml(fails={"nvmlDeviceGetMemoryInfo": NOT_SUPPORTED}))

    assert [card.total_bytes for card in driver.cards] == [0, 0]


def test_real_library_is_asked_without_an_exception():
    """On a machine without a card it says why; with one, it lists cards."""
    driver = ask_driver()

    assert bool(driver.fault) != bool(driver.cards or driver.version)

"""The table of cards. Oracle: what NVIDIA's driver was published to show, and its data sheets."""

import pytest

from appliance.errors import UsageError
from appliance.hardware.cards import find_card, imagine_card, list_cards
from appliance.units import GIB, MIB
from tests.planning.machines import make_hardware

WANTED = """
RTX 3060|RTX 3090|RTX 4060|RTX 4090|RTX 5090|RTX A2000|A10|A30|A40|A100 40|A100 80|L4|L40S|H100|H200
B200|T4|RTX 6000 Ada|RTX PRO 6000|Jetson Orin
"""


@pytest.mark.parametrize("name", WANTED.strip().replace("\n", "|").split("|"))
def test_common_card_is_known(name):
    assert find_card(name) is not None


def test_table_is_whole():
    cards = list_cards()

    assert len(cards) >= 25
    assert len({card.name for card in cards}) == len(cards)
    for card in cards:
        assert card.source and card.tflops > 0 and card.gb_per_second > 0 and card.memory_gib > 0
        assert [part.isdigit() for part in card.capability.split(".")] == [True, True]


@pytest.mark.parametrize(
    ("name", "mebibytes"),
    [
        ("T4", 15_360),
        ("A10", 23_028),
        ("L4", 23_034),
        ("L40S", 46_068),
        ("A100 40GB", 40_960),
        ("A100 80GB", 81_920),
        ("H100", 81_559),
        ("H200", 143_771),
    ],
)
def test_memory_is_what_the_driver_shows(name, mebibytes):
    """Oracle: totals of nvidia-smi, as published for each card."""
    assert find_card(name).memory_bytes == pytest.approx(mebibytes * MIB, rel=0.006)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("rtx4090", "RTX 4090"),
        ("Tesla T4", "T4"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA A100-PCIE-40GB", "A100 40GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX PRO 6000 Blackwell"),
        ("NVIDIA GB10", "DGX Spark"),
    ],
)
def test_card_is_found_as_the_driver_and_people_write_it(written, name):
    assert find_card(written).name == name


@pytest.mark.parametrize(
    "written", ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D", "", "RTX"]
)
def test_other_card_of_a_similar_name_is_not_taken_for_it(written):
    assert find_card(written) is None


def test_card_is_imagined_beside_the_rest_of_the_machine():
    hardware = imagine_card(make_hardware(memory_gib=64), "RTX 4090")

    (gpu,) = hardware.gpus
    assert gpu.usable and gpu.supports_bf16
    assert 23 * GIB < gpu.free_bytes < gpu.total_bytes == 24 * GIB
    assert hardware.memory_bytes == 64 * GIB
    assert hardware.findings[0].level == "note"


def test_board_with_shared_memory_brings_its_own():
    hardware = imagine_card(make_hardware(memory_gib=8), "Jetson AGX Orin 64GB")

    assert hardware.memory_total_bytes == hardware.gpus[0].total_bytes == 64 * GIB
    assert hardware.memory_bytes == hardware.gpus[0].free_bytes < 64 * GIB


def test_card_that_torch_has_no_kernels_for_is_refused_with_its_reason():
    hardware = imagine_card(make_hardware(), "V100")

    assert not hardware.gpus[0].usable
    assert hardware.findings[0].what.startswith("a V100 32GB could not be used: compute capability")


def test_unknown_card_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        imagine_card(make_hardware(), "RTX 490")

    assert "RTX 4090" in caught.value.why
    assert caught.value.fix == '--what-if "RTX 4090"'

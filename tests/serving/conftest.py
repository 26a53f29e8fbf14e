"""What the serving tests share: the embedded base, loaded in the engine."""

import sys
from pathlib import Path

import pytest

from appliance.offline import go_offline

go_offline()
sys.path.insert(0, str(Path(__file__).parents[1] / "export"))


@pytest.fixture(scope="session")
def engine():
    from exported_model import get_folder

    from appliance.serving.engine import Engine

    return Engine(get_folder("int4"), threads=1)


@pytest.fixture(scope="session")
def packed():
    from packed_bundle import get_bundle

    return get_bundle()

"""What the bundle tests share: a bundle of the embedded base, packed once."""

import shutil
import sys
from pathlib import Path

import pytest

from appliance.offline import go_offline

go_offline()
sys.path.insert(0, str(Path(__file__).parents[1] / "export"))


@pytest.fixture(scope="session")
def packed():
    """The folder of a bundle; do not change it."""
    from packed_bundle import get_bundle

    return get_bundle()


@pytest.fixture
def bundle(packed, tmp_path):
    """A copy of the bundle, to be damaged."""
    folder = tmp_path / "bundle"
    shutil.copytree(packed, folder)
    return folder

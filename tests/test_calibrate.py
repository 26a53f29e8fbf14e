"""The probe of the device. Oracle: the closed form, which a real training is near."""

import json
import os
import subprocess
import sys

from appliance.daemon.child import ALLOCATOR
from appliance.units import MIB


def test_probe_measures_a_training_that_is_near_the_closed_form():
    done = subprocess.run(
        [sys.executable, "-m", "appliance.calibrate"],
        input=json.dumps({"device": "cpu", "compute_dtype": "float32", "threads": 1}),
        capture_output=True,
        text=True,
        env=ALLOCATOR | os.environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    extra = json.loads(done.stdout.splitlines()[-1])["extra_bytes"]
    assert abs(extra) < 60 * MIB  # of some 500

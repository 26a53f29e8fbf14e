"""Rate and time left beside a progress bar: numbers by hand."""

from __future__ import annotations

from appliance.cli.pace import Pace


def test_rate_and_time_left_count_from_the_first_that_was_told():
    pace = Pace()
    assert pace.describe(100.0, 50, 250, "files") == "50/250 files"
    assert pace.describe(102.0, 90, 250, "files") == "90/250 files"
    # oracle: 100 files in 4 s are 25 a second; 100 more take 4 s
    assert pace.describe(104.0, 150, 250, "files") == "150/250 files  25 files/s  4.0 s left"


def test_slow_rates_keep_a_digit_and_a_stage_that_starts_again_counts_anew():
    pace = Pace()
    pace.describe(0.0, 0, 100, "MiB")
    assert pace.describe(10.0, 15, 100, "MiB").startswith("15/100 MiB  1.5 MiB/s")
    assert pace.describe(11.0, 1, 100, "MiB") == "1/100 MiB"


def test_only_what_was_done_lately_counts():
    pace = Pace()
    pace.describe(0.0, 0, 4000, "files")
    pace.describe(1.0, 2000, 4000, "files")  # known from before a kill
    pace.describe(40.0, 2100, 4000, "files")
    # oracle: 100 files in the last 20 s
    assert pace.describe(60.0, 2200, 4000, "files").endswith("5.0 files/s  6 min left")

"""Made-up private values and look-alikes, by which masking is measured.

`tuning.py` was looked at while the patterns were written. `held_out.py` was written before them, by
other templates, and is only ever run. They share `cases.py` and nothing else.
"""

"""What private values look like: one file a family of patterns. `../scrub.py` replaces them."""

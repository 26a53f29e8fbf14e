"""One reader a family of formats; `choose.py` decides which reads a file."""

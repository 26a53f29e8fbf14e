"""Tuning methods: each file holds how weights are attached and how they are merged again."""

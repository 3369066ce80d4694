"""Batch systems behind one narrow interface: Slurm, and a small in-memory one for demos and tests."""

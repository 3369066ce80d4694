"""vmm manages virtual machines for a batch system: see README.md for what it does and docs/ for how."""

__version__ = "0.1.0"

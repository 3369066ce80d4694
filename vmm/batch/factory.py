"""The batch system that the settings name."""

from __future__ import annotations

from vmm.batch.interface import BatchSystem
from vmm.batch.memory import MemoryBatch
from vmm.batch.slurm import SlurmBatch
from vmm.batch.swf import read_swf
from vmm.config import Settings

DEFAULT_SOCKET = "../var/batch.sock"


def batch_socket(settings: Settings) -> str:
    """Where the in-memory batch system listens and its nodes connect: an absolute path or HOST:PORT."""
    text = settings.batch.socket or DEFAULT_SOCKET
    return str(settings.path(text)) if "/" in text else text


def open_batch(settings: Settings) -> BatchSystem | None:
    """The batch system, ready to be asked; None for `driver = none`.

    The in-memory one is started here: its workload's time begins now. Raises ConfigError, FindingsError.
    """
    chosen = settings.batch
    if chosen.driver == "none":
        return None
    if chosen.driver == "memory":
        works = read_swf(settings.path(chosen.workload)) if chosen.workload else []
        batch = MemoryBatch(works, batch_socket(settings), chosen.speed)
        batch.start()
        return batch
    folder = str(settings.path(chosen.bin)) if chosen.bin else ""
    conf = str(settings.path(chosen.conf)) if chosen.conf else ""
    return SlurmBatch(folder, conf, chosen.timeout_s)

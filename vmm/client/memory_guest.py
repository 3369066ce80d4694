"""The inside of an in-memory guest: a process with a domU client and, where it serves, a batch node.

    python -m vmm.client.memory_guest FOLDER        one line on stdin: the GuestSpec as JSON

The open stdin is the guest's power: it ends when its host closes it, and also when the host's client dies in
whatever way, so that no guest is left behind.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from vmm.messages.guest import GuestSpec

_STOP_S = 2.0


def boot_process(folder: Path, spec: GuestSpec) -> Callable[[], None]:
    """Switch a guest on, with the host's folder of settings; returns what switches it off. Raises OSError."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "vmm.client.memory_guest",
            str(folder),
        ],  # a folder vmm/ here is not ours
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    power = process.stdin
    assert power is not None
    with contextlib.suppress(BrokenPipeError):  # then it is dead already, and its console says why
        power.write(msgspec.json.encode(spec) + b"\n")
        power.flush()

    def off() -> None:
        with contextlib.suppress(OSError):
            power.close()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    return off


def main(arguments: list[str] | None = None) -> int:
    # Loaded here: the host's client needs only boot_process.
    from vmm.client.options import build_options
    from vmm.client.program import run_client

    _log_warnings()
    (folder,) = sys.argv[1:] if arguments is None else arguments
    # Unbuffered: a reader that holds a lock on stdin would hang the end of the program.
    with os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0) as power:
        spec = msgspec.json.decode(power.readline(), type=GuestSpec)
        options = build_options(
            folder=Path(folder), role="domU", name=spec.name, identity={**spec.identity, "name": spec.name}
        )
        stop = threading.Event()
        threading.Thread(target=_watch_power, args=(power.fileno(), stop), name="power", daemon=True).start()
        batch = options.settings.batch
        if batch.driver != "memory":
            run_client(options, stop)
            return 0
        from vmm.batch.factory import batch_socket
        from vmm.batch.memory_node import NodeAgent

        agent = NodeAgent(
            batch_socket(options.settings), spec.name, spec.features or [spec.share], cpus=spec.vcpus
        )
        agent.start()
        try:
            run_client(options, stop)
        finally:
            agent.stop()
    return 0


def _watch_power(handle: int, stop: threading.Event) -> None:
    """Read until the other end is closed; a stop that hangs is cut short, as a power switch would."""
    while os.read(handle, 4096):
        pass
    cut = threading.Timer(_STOP_S, os._exit, (1,))
    cut.daemon = True
    cut.start()
    stop.set()


def _log_warnings() -> None:
    import logging
    import signal

    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s.%(msecs)03d %(levelname)-7s guest %(process)d %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    # Its host's terminal or service manager means the host; the guest goes with the power.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())

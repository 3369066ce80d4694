"""What plugins act on: the hypervisor of a dom0 client, the batch system of a batch client."""

from __future__ import annotations

import logging
import threading
from functools import partial

from vmm.client.options import ClientOptions
from vmm.plugins.hookspecs import Context

log = logging.getLogger(__name__)


def open_context(options: ClientOptions) -> Context:
    """Nothing real is connected here, so what is down now is an error of each property until it is up again.

    Raises ConfigError when a driver's package is missing.
    """
    name, role, settings = options.name, options.role, options.settings
    if role == "dom0":
        from vmm.hypervisors.factory import open_hypervisor

        on_boot = None
        if settings.hypervisor.driver == "memory":
            from vmm.client.memory_guest import boot_process

            on_boot = partial(boot_process, settings.folder)
        return Context(name, role, hypervisor=open_hypervisor(settings, name, on_boot=on_boot))
    if role == "batch":
        from vmm.batch.factory import open_batch

        return Context(name, role, batch=open_batch(settings))
    return Context(name, role)


def close_context(context: Context, timeout_s: float = 0.3) -> None:
    """Let go of connections; one that hangs is left to the end of the process."""
    thread = threading.Thread(target=_close, args=(context,), name="closing", daemon=True)
    thread.start()
    thread.join(timeout_s)


def _close(context: Context) -> None:
    for backend in (context.hypervisor, context.batch):
        if backend is not None:
            try:
                backend.close()
            except Exception as exc:  # it is the end anyway
                log.warning("closing %s: %s", type(backend).__name__, exc)

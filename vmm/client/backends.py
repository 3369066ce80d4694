"""What plugins act on: the hypervisor of a dom0 client, the batch system of a batch client."""

from __future__ import annotations

from vmm.client.options import ClientOptions
from vmm.plugins.hookspecs import Context


def open_context(options: ClientOptions) -> Context:
    """Nothing is connected here, so what is down now is an error of each property until it is up again.

    Raises ConfigError when a driver's package is missing.
    """
    name, role, settings = options.name, options.role, options.settings
    if role == "dom0":
        from vmm.hypervisors.factory import open_hypervisor

        return Context(name, role, hypervisor=open_hypervisor(settings, name))
    if role == "batch" and settings.batch.driver != "none":
        from vmm.batch.factory import open_batch

        return Context(name, role, batch=open_batch(settings))
    return Context(name, role)


def close_context(context: Context) -> None:
    """Let go of connections."""
    if context.hypervisor is not None:
        context.hypervisor.close()
    if context.batch is not None:
        context.batch.close()

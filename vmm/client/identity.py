"""The client's own key, and the Manager's public key."""

from __future__ import annotations

from vmm.client.options import ClientOptions
from vmm.errors import ConfigError
from vmm.messages import keys


def load_signer(options: ClientOptions) -> keys.Signer:
    """A host's or batch client's key comes with its keys folder; a guest makes its own at its first start."""
    if options.key is not None:
        return keys.Signer.load(options.key)
    if options.role == "domU":
        return keys.load_or_make(options.state / "client.key")
    path = options.settings.keys_folder / "clients" / f"{options.name}.key"
    if not path.exists():
        raise ConfigError(
            f"{path}: this client has no key.",
            next_step=f"run `vmm keys init --client {options.name}` where the Manager's keys are, and copy"
            f" {options.name}.key and {keys.MANAGER}.pub here",
        )
    return keys.Signer.load(path)


def load_manager_key(options: ClientOptions) -> bytes:
    """The public key that commands must be signed with."""
    if options.manager_key is not None:
        return options.manager_key
    return keys.load_public(options.settings.keys_folder / f"{keys.MANAGER}.pub")

"""Put a person's wish into the stream: one signed message to the managers' group."""

from __future__ import annotations

import getpass
import os
import uuid
from typing import Any

from vmm.config import Settings
from vmm.messages import codec, keys
from vmm.messages.bus import MANAGERS, SpreadBus
from vmm.messages.structs import Intent


def send_wish(settings: Settings, name: str, args: dict[str, Any], reason: str) -> str:
    """Sign with the Manager's key and multicast; returns the intent's id. Raises BusLost, ConfigError.

    What becomes of it stands in the decision log and the journal.
    """
    signer = keys.Signer.load(settings.keys_folder / f"{keys.MANAGER}.key")
    intent = Intent(uuid.uuid4().hex[:12], name, args, getpass.getuser(), reason)
    bus = SpreadBus(settings.bus.daemon, f"w{os.getpid() % 10**8}", membership=False)
    try:
        kind, body = codec.seal(intent, keys.MANAGER, signer)
        bus.multicast([MANAGERS], kind, body)
    finally:
        bus.close()
    return intent.id

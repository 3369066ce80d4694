"""An embedded Spread daemon for one machine: sessions (I/O and queues) above ordering (groups and order)."""

from __future__ import annotations

from vmm.spread.daemon.embedded import DEFAULT_LISTEN, DEFAULT_NAME, EmbeddedDaemon, run_daemon

__all__ = ["DEFAULT_LISTEN", "DEFAULT_NAME", "EmbeddedDaemon", "run_daemon"]

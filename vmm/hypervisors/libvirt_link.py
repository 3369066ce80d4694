"""The connection to libvirtd: made when first needed, made again when it was lost.

libvirt's own module is handed in, so that only `libvirt.py` imports it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from vmm.hypervisors.interface import GuestFailed, HypervisorDown

T = TypeVar("T")
KEEPALIVE = (2, 3)
"""Seconds between probes, and probes lost until the connection counts as dead: a frozen daemon takes 8 s."""
OPEN_LIMIT_S = 5.0
"""A frozen libvirtd takes connections and never answers: opening one has no time limit of its own."""
_LOST_DOMAINS = ("VIR_FROM_RPC", "VIR_FROM_REMOTE")
_LOST_CODES = ("VIR_ERR_NO_CONNECT", "VIR_ERR_INVALID_CONN", "VIR_ERR_RPC", "VIR_ERR_AUTH_FAILED")


class EventLoop:
    """libvirt's event loop, one per process: without it a frozen libvirtd is never noticed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._timer = -1
        self._library: Any = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, library: Any) -> None:
        with self._lock:
            self._users += 1
            if self._timer < 0:
                library.virEventRegisterDefaultImpl()
                # The loop sleeps until an event: this one lets it see `_stop`.
                self._timer = library.virEventAddTimeout(1000, lambda _timer, _opaque: None, None)
                self._library = library
            if self._thread is None:
                self._stop.clear()
                library.virEventUpdateTimeout(self._timer, 1000)
                self._thread = threading.Thread(
                    target=self._run, args=(library,), name="libvirt-events", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users or self._thread is None:
                return
            self._stop.set()
            self._library.virEventUpdateTimeout(self._timer, 0)
            self._thread.join(2.0)
            self._thread = None

    def _run(self, library: Any) -> None:
        while not self._stop.is_set():
            library.virEventRunDefaultImpl()


_EVENTS = EventLoop()


class _Opening:
    """An attempt to connect, in a thread that may hang."""

    def __init__(self, library: Any, uri: str) -> None:
        self._library, self._uri = library, uri
        self.done = threading.Event()
        self.connection: Any = None
        self.error: Any = None
        threading.Thread(target=self._open, name="libvirt-open", daemon=True).start()

    def _open(self) -> None:
        try:
            self.connection = self._library.open(self._uri)
            with contextlib.suppress(self._library.libvirtError):  # drivers within the process have none
                self.connection.setKeepAlive(*KEEPALIVE)
        except self._library.libvirtError as exc:
            self.error = exc
        finally:
            self.done.set()


class Link:
    """One connection, shared by threads. `run` hands it out and tells a lost one from a refused call."""

    def __init__(self, library: Any, uri: str) -> None:
        self.binding = library
        self.uri = uri
        self._lock = threading.Lock()
        self._connection: Any = None
        self._opening: _Opening | None = None
        self._looping = False
        self._closed = False

    def run(self, doing: str, work: Callable[[Any], T]) -> T:
        """`work(connection)`, once more on a new connection when the first was lost on the way.

        So `work` must bear being run twice. Raises HypervisorDown, or GuestFailed `libvirt` for an error
        that `work` let through.
        """
        for again in (True, False):
            connection = self._connect(doing)
            try:
                return work(connection)
            except self.binding.libvirtError as exc:
                if not self.lost(connection, exc):
                    raise GuestFailed(
                        "libvirt", f"{doing}: {text_of(exc)}", next_step="see libvirtd's log on this host"
                    ) from exc
                self._drop(connection)
                if not again:
                    raise self._down(doing, text_of(exc)) from exc
        raise AssertionError("not reached")

    def lost(self, connection: Any, error: Any) -> bool:
        """Whether `error` says that the connection is gone, and nothing about the guest."""
        library = self.binding
        if error.get_error_domain() in [getattr(library, name) for name in _LOST_DOMAINS]:
            return True
        if error.get_error_code() in [getattr(library, name) for name in _LOST_CODES]:
            return True
        try:
            return not connection.isAlive()
        except library.libvirtError:
            return True

    def close(self) -> None:
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
            looping, self._looping = self._looping, False
        if connection is not None:
            with contextlib.suppress(self.binding.libvirtError):
                connection.close()
        if looping:
            _EVENTS.stop()

    def _connect(self, doing: str) -> Any:
        with self._lock:
            if self._closed:
                raise HypervisorDown(f"{doing}: the connection was closed.", next_step="open a new one")
            if self._connection is not None:
                return self._connection
            if not self._looping:
                _EVENTS.start(self.binding)
                self._looping = True
            if self._opening is None:
                self._opening = _Opening(self.binding, self.uri)
            opening = self._opening
        if not opening.done.wait(OPEN_LIMIT_S):
            raise self._down(doing, f"no answer within {OPEN_LIMIT_S:g} s")
        with self._lock:
            if self._opening is opening:
                self._opening = None
                self._connection = None if self._closed else opening.connection
        if opening.connection is None:
            raise self._down(doing, text_of(opening.error)) from opening.error
        return opening.connection

    def _drop(self, connection: Any) -> None:
        with self._lock:
            if self._connection is connection:
                self._connection = None
        with contextlib.suppress(self.binding.libvirtError):
            connection.close()

    def _down(self, doing: str, why: str) -> HypervisorDown:
        return HypervisorDown(
            f"{doing}: libvirt does not answer at {self.uri}: {why}",
            next_step="start libvirtd on this host, or correct `uri` in [hypervisor] of vmm.ini",
        )


def text_of(error: Any) -> str:
    """libvirt's message on one line."""
    return " ".join(str(error.get_error_message() or error).split())

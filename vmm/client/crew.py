"""The client's threads: started by `start`, watched, and never dead in silence."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from vmm.client.errors import ThreadDied
from vmm.errors import VmmError

log = logging.getLogger(__name__)


class Crew:
    """Named threads that share one stop event. The first that fails stops all; `failure` says why."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self.failure: VmmError | None = None

    def start(self, name: str, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._watched, args=(name, run), name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def join(self, name: str, timeout_s: float) -> bool:
        """Wait for one thread; False (and a log line) when it does not end in time."""
        thread = self._threads.get(name)
        if thread is None:
            return True
        thread.join(timeout_s)
        if thread.is_alive():
            log.warning("%s did not end within %.1f s; the program ends without it", name, timeout_s)
            return False
        return True

    def names(self) -> list[str]:
        return list(self._threads)

    def _watched(self, name: str, run: Callable[[], None]) -> None:
        try:
            run()
        except VmmError as exc:  # meant for people: a name that is taken, a record that cannot be read
            self._failed(exc)
        except BaseException as exc:
            log.exception("the thread %s died", name)
            self._failed(
                ThreadDied(
                    f"the thread {name} died: {type(exc).__name__}: {exc}.",
                    next_step="start the client again and report the traceback in its log",
                )
            )
        else:
            if not self._stop.is_set():
                self._failed(
                    ThreadDied(
                        f"the thread {name} ended although nobody asked it to.",
                        next_step="start the client again and report this",
                    )
                )

    def _failed(self, failure: VmmError) -> None:
        with self._lock:
            if self.failure is None:
                self.failure = failure
        self._stop.set()

"""The journal's stretches, decoded: by a second process that runs ahead where that pays, else here.

Reading, unpacking and decoding need nothing of the core but the decoder's properties. So a forked process
does that and hands stretches over through shared memory, while this one follows the rules. It sees what this
process would see; when it ends early, for whatever reason, this process reads on by itself, and meets the
journal's faults in the ordinary way.
"""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import pickle
import threading
from collections.abc import Iterator
from mmap import mmap
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vmm.api.bulk.chunk import Chunk, stretches
from vmm.api.bulk.reports import ReportDecoder

WORTH_BYTES = 16 * 2**20
"""Smaller journals are read here."""
_SLOTS = 3
_SLOT_BYTES = 48 * 2**20
"""Pages that are never written take no memory; what is longer goes through the pipe."""
_ALIGN = 64


class Source:
    """Gives one chunk after another. Only the last one may be in use; `close` it in the end."""

    def __init__(self, folder: Path, first: int | None) -> None:
        self._folder = folder
        self._position = first
        self._here: Iterator[Chunk] | None = None
        self._now_s = float("-inf")
        self._worker: _Worker | None = None
        self.lost = False
        """The second process ended early: its decoder's tables are not known here."""

    def next(self, now_s: float) -> Chunk | None:
        """The next one after stream time `now_s`; None at the end. Raises JournalError, BadJournal."""
        if self._worker is not None:
            try:
                chunk = self._worker.next()
            except (EOFError, OSError):
                self.lost = True
                self.stop()
            else:
                self._passed(chunk)
                return chunk
        if self._here is None:
            self._here = self._read()
        self._now_s = now_s
        chunk = next(self._here, None)
        self._passed(chunk)
        return chunk

    def _passed(self, chunk: Chunk | None) -> None:
        if chunk is not None:
            self._position = chunk.first_position + len(chunk)

    def _read(self) -> Iterator[Chunk]:
        for parts in stretches(self._folder, self._position):
            yield Chunk(parts, self._now_s)

    def run_ahead(self, decoder: ReportDecoder, chunk: Chunk) -> None:
        """Have what comes behind `chunk`, the last one given, decoded in a process of its own if that pays.

        That goes on from what `decoder` knows; what it learns (`names`, `tokens`, `errors`) is added here.
        """
        self.stop()
        if self._pays():
            self._here = None
            first = chunk.first_position + len(chunk)
            self._worker = _Worker(self._folder, first, float(chunk.clock_s[-1]), decoder)

    def _pays(self) -> bool:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        if cores < 2 or threading.active_count() > 1:  # forking with threads is not safe
            return False
        sizes = (entry.stat().st_size for entry in os.scandir(self._folder) if entry.name.endswith(".vmmj"))
        return sum(sizes) >= WORTH_BYTES

    def stop(self) -> None:
        """Read on in this process."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    close = stop


class _Worker:
    """The second process, seen from the first."""

    def __init__(self, folder: Path, first: int, now_s: float, decoder: ReportDecoder) -> None:
        self._decoder = decoder
        self._memory = mmap(-1, _SLOTS * _SLOT_BYTES)
        self._pipe, theirs = mp.Pipe()
        for slot in range(_SLOTS):  # before the process can have ended, with nothing to read
            self._pipe.send_bytes(bytes((slot,)))
        self._used: int | None = None
        context = mp.get_context("fork")
        self._process = context.Process(
            target=_work,
            args=(folder, first, now_s, decoder, self._memory, theirs, self._pipe),
            name="vmm-reads-ahead",
            daemon=True,
        )
        self._process.start()
        theirs.close()

    def next(self) -> Chunk | None:
        """Raises EOFError when the process has ended before its time, OSError."""
        if self._used is not None:
            self._give_back(self._used)
            self._used = None
        message = self._pipe.recv_bytes()
        if not message:
            return None
        slot, places, data = pickle.loads(message)
        parts: list[bytearray | memoryview] = []
        if places:
            self._used = slot
            memory = memoryview(self._memory)
            # The last buffer is the body: it is left in place. All others are small, and may be kept.
            *columns, body = [memory[at : at + size] for at, size in places]
            parts = [*map(bytearray, columns), body]
        else:
            self._give_back(slot)
        chunk, names, tokens, errors, body = pickle.loads(data, buffers=parts)
        assert isinstance(chunk, Chunk)
        chunk.body = body
        self._decoder.names.extend(names)
        self._decoder.tokens.extend(tokens)
        self._decoder.errors.extend(errors)
        return chunk

    def _give_back(self, slot: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # the process has read all: the rest is in the pipe
            self._pipe.send_bytes(bytes((slot,)))

    def close(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()
        self._process.close()


def _work(
    folder: Path, first: int, now_s: float, decoder: ReportDecoder,
    memory: mmap, pipe: Connection, theirs: Connection,
) -> None:  # fmt: skip
    """The second process. It ends when the first does: then the pipe is closed."""
    try:
        theirs.close()
        learnt: list[list[Any]] = [decoder.names, decoder.tokens, decoder.errors]
        known = [len(each) for each in learnt]
        for parts in stretches(folder, first):
            chunk = Chunk(parts, now_s)
            now_s = float(chunk.clock_s[-1])
            chunk.decode(decoder)
            body, chunk.body = pickle.PickleBuffer(chunk.body), b""
            found = chunk, *(each[count:] for each, count in zip(learnt, known, strict=True)), body
            known = [len(each) for each in learnt]
            _send(found, memory, pipe)
        pipe.send_bytes(b"")
    except BaseException:
        # Whatever it is, the first process meets it, too: it goes on by itself.
        os._exit(1)
    os._exit(0)


def _send(found: object, memory: mmap, pipe: Connection) -> None:
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(found, 5, buffer_callback=buffers.append)
    (slot,) = pipe.recv_bytes()
    at, end = slot * _SLOT_BYTES, (slot + 1) * _SLOT_BYTES
    places: list[tuple[int, int]] = []
    for buffer in buffers:
        raw = buffer.raw()
        if at + len(raw) > end:
            pipe.send_bytes(pickle.dumps((slot, [], pickle.dumps(found, 5)), 5))
            return
        memory[at : at + len(raw)] = raw
        places.append((at, len(raw)))
        at += -(-len(raw) // _ALIGN) * _ALIGN
    pipe.send_bytes(pickle.dumps((slot, places, data), 5))

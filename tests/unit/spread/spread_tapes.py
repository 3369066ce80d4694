"""Reading the recordings: connections, their bytes, and frames written as their summaries write them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from vmm.spread import constants as c
from vmm.spread.codec import Frame, FrameDecoder, strip_name
from vmm.spread.errors import FrameError
from vmm.spread.membership import decode_body, decode_view

FOLDER = Path(__file__).parents[2] / "recordings" / "spread"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@dataclass
class Step:
    """One event of a recording; `conn` tells apart connections that the recording gives the same letter."""

    conn: str
    direction: str
    label: str
    data: bytes


@dataclass
class Tape:
    name: str
    summary: list[Any]
    steps: list[Step] = field(default_factory=list)

    def connections(self) -> list[str]:
        return list(dict.fromkeys(step.conn for step in self.steps if step.conn != "*"))

    def received(self, conn: str) -> bytes:
        return b"".join(s.data for s in self.steps if s.conn == conn and s.direction == "d2c")

    def ended(self, conn: str) -> bool:
        """Whether the recording client noticed an end of the connection that the daemon made."""
        return any(
            s.conn == conn and s.direction == "note" and any(w in s.label for w in ("EOF", "reset"))
            for s in self.steps
        )


@cache
def load(name: str) -> Tape:
    content = json.loads((FOLDER / f"{name}.json").read_text())
    tape = Tape(name, content["summary"])
    openings: dict[str, int] = {}
    for event in content["events"]:
        letter = event["conn"]
        if event["label"].startswith("connect:"):
            openings[letter] = openings.get(letter, 0) + 1
        number = openings.get(letter, 1)
        conn = letter if number <= 1 else f"{letter}{number}"
        tape.steps.append(Step(conn, event["dir"], event["label"], _bytes(event)))
    return tape


def _bytes(event: dict[str, Any]) -> bytes:
    text = event.get("hex") or ""
    if not event.get("cut"):
        return bytes.fromhex(text)
    start = bytes.fromhex(text.removesuffix("..."))
    size: int = event["n"]
    return start + start[-1:] * (size - len(start))


def split_handshake(stream: bytes) -> tuple[list[str], bytes]:
    """The daemon's part of a handshake in words, and the bytes after it."""
    words: list[str] = []
    if stream[:1] == b"\x05":
        words.append("offers " + stream[1:6].decode())
        stream = stream[6:]
    if not stream:
        return words, b""
    code = int.from_bytes(stream[:1], "big", signed=True)
    if code != 1:
        return [*words, f"code {code}"], stream[1:]
    version = 3 if stream[3] < 0x20 and stream[5:6] == b"#" else 2
    length = stream[1 + version]
    name = stream[2 + version : 2 + version + length].decode()
    return [*words, f"accepts {name}"], stream[2 + version + length :]


def split_frames(data: bytes) -> tuple[list[Frame], FrameDecoder]:
    decoder = FrameDecoder(max_groups=16384, max_payload=1 << 20)
    return decoder.feed(data), decoder


def frame_line(frame: Frame) -> str:
    """A frame as the summaries write it."""
    groups = [strip_name(name).decode("latin-1") for name in frame.groups]
    hint = int.from_bytes(frame.hint, "little")
    line = (
        f"type={frame.kind:#x} sender={strip_name(frame.name).decode('latin-1')} groups={groups} "
        f"hint={hint:#x} mtype={hint >> 8 & 0xFFFF} len={len(frame.body)}"
    )
    memb = _membership_words(frame)
    return f"{line} memb={memb}" if memb else line


def _membership_words(frame: Frame) -> object:
    if not frame.kind & c.MEMBERSHIP_MESS:
        return None
    if frame.kind == c.CAUSED_BY_LEAVE:
        return {"selfleave": True, "left": len(frame.body)}
    if frame.kind == c.TRANSITION_MESS:
        view = decode_view(frame.body, big_endian=frame.big_endian)
        return {"gid": tuple(view), "left": len(frame.body) - 12}
    try:
        body = decode_body(frame.body, big_endian=frame.big_endian)
    except FrameError:
        return "unparsable"
    offset = 0
    sets = []
    own = 0
    for number, names in enumerate(body.sets):
        own = offset if number == body.own else own
        sets.append((offset, list(names)))
        offset += 4 + 32 * len(names)
    return {"gid": tuple(body.view), "nvs": len(body.sets), "off": own, "sets": sets, "left": 0}

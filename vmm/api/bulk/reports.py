"""Encoded reports into columns: clients, sequence numbers, and the values of the needed properties."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vmm.api.bulk.shapes import NO_ERRORS, PREFIX, Bytes, NoShape, Number, Shape, learn
from vmm.rules.flow import KNOWN, TOKEN, UNKNOWN

_NIL = frozenset((0xC0,))
_HEADS = {
    "str": _NIL.union(range(0xA0, 0xC0), (0xD9, 0xDA, 0xDB)),
    "table": _NIL.union(range(0x90, 0xA0), (0xDC, 0xDD)),
    "dict": _NIL.union(range(0x80, 0x90), (0xDE, 0xDF)),
    "float": _NIL,
    "int": _NIL,
    "bool": _NIL,
}
"""With which bytes values begin that are of a property's type and no numbers."""

_EXACT = 2.0**53
_LONGEST = 4096
"""Longer reports (tables of a batch system) change too often to be learnt."""

_MAX_SHAPES = 4096
_TRIED = 48
_ROUNDS = 6


@dataclass(slots=True)
class Reports:
    """Reports by column, all of one length. `odd` ones are not in the columns: decode them one by one."""

    client: NDArray[np.int32]
    session: NDArray[np.int64]
    seq: NDArray[np.int64]
    odd: NDArray[np.bool_]
    errors: NDArray[np.int32]
    """Index into the decoder's `errors`."""
    states: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    values: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Unknown and absent ones are NaN."""
    tokens: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    """Where the state is TOKEN: index into the decoder's `tokens`."""
    plain: dict[str, bool] = field(default_factory=dict)
    """Whether every one says a number; filled in by `is_plain`."""

    def is_plain(self, name: str) -> bool:
        """Whether every report says a number of this property."""
        found = self.plain.get(name)
        if found is None:
            found = self.plain[name] = bool((self.states[name] == KNOWN).all())
        return found


class ReportDecoder:
    """Learns the shapes of reports as it meets them. `types` gives the needed properties and their types."""

    def __init__(self, types: dict[str, str]) -> None:
        self.types = types
        self.names: list[str] = []
        self.tokens: list[bytes] = []
        self.errors: list[bytes] = [NO_ERRORS]
        """Encoded maps of errors."""
        self._needed = frozenset(types)
        self._clients: dict[int, dict[bytes, int]] = {}
        self._token_ids: dict[bytes, int] = {}
        self._error_ids: dict[bytes, int] = {}
        self._common: dict[int, list[Shape]] = {}
        self._own: dict[tuple[int, int], Shape] = {}

    def decode(self, body: bytes | memoryview, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Reports:
        """The payloads `body[starts[i]:ends[i]]`."""
        count = len(starts)
        out = Reports(
            np.full(count, -1, np.int32), np.zeros(count, np.int64), np.zeros(count, np.int64),
            np.ones(count, np.bool_), np.zeros(count, np.int32),
        )  # fmt: skip
        for name in self.types:
            out.states[name] = np.zeros(count, np.uint8)
            out.values[name] = np.full(count, np.nan)
        lengths = ends - starts
        for length in np.unique(lengths).tolist():
            chosen = np.flatnonzero(lengths == length)
            if len(PREFIX) + 8 < length <= _LONGEST:
                whole = np.ndarray((len(body) - length + 1,), f"V{length}", body, 0, (1,))
                rows = whole[starts[chosen]].view(np.uint8).reshape(-1, length)
                self._decode_equal(rows, chosen, out)
        return out

    def _decode_equal(self, rows: Bytes, chosen: NDArray[np.int64], out: Reports) -> None:
        """Payloads of one length."""
        left = np.arange(len(rows))
        common = self._common.setdefault(rows.shape[1], [])
        for place, shape in enumerate(common[:_TRIED]):
            fits = shape.fits(rows) if len(left) == len(rows) else shape.fits(rows[left])
            if not fits.any():
                continue
            self._take(shape, rows if fits.all() and len(left) == len(rows) else rows[left[fits]],
                       chosen[left[fits]], out)  # fmt: skip
            if place and int(fits.sum()) * 2 > len(left):
                common.insert(0, common.pop(place))
            left = left[~fits]
            if not len(left):
                return
        for _ in range(_ROUNDS):
            left = self._by_client(rows, chosen, left, out)
            if not len(left):
                return

    def _by_client(
        self, rows: Bytes, chosen: NDArray[np.int64], left: NDArray[np.int64], out: Reports
    ) -> NDArray[np.int64]:
        """Take what has its client's last shape; learn the shape of the first of each other client."""
        length = rows.shape[1]
        groups: dict[int, list[int]] = {}
        for index, client in zip(left.tolist(), self._who(rows[left]), strict=True):
            if client >= 0:
                groups.setdefault(client, []).append(index)
        rest: list[int] = []
        for client, members in groups.items():
            shape = self._own.get((length, client))
            found = rows[members]
            fits = shape.fits(found) if shape is not None else np.zeros(len(members), np.bool_)
            if shape is None or not fits[0]:
                shape = self._learn(found[0].tobytes(), client)
                if shape is None:
                    members, found, fits = members[1:], found[1:], fits[1:]
                    rest += members
                    continue
                fits = shape.fits(found)
            places = np.array(members)
            self._take(shape, found[fits], chosen[places[fits]], out)
            rest += places[~fits].tolist()
        return np.array(sorted(rest), np.int64)

    def _learn(self, payload: bytes, client: int) -> Shape | None:
        try:
            shape = learn(payload, self._needed)
        except NoShape:
            return None
        common = self._common[len(payload)]
        if not shape.own and len(common) < _MAX_SHAPES:
            common.insert(0, shape)
        if len(self._own) > 16 * _MAX_SHAPES:
            self._own.clear()
        self._own[len(payload), client] = shape
        return shape

    def _who(self, rows: Bytes) -> list[int]:
        """The client of each row; -1 where the payload does not begin as a report of one."""
        at = len(PREFIX)
        prefix = np.frombuffer(PREFIX, np.uint8)
        good = (rows[:, :at] == prefix).all(axis=1) & (rows[:, at] & 0xE0 == 0xA0)
        out = np.full(len(rows), -1)
        sizes = np.where(good, rows[:, at] & 31, 255)
        for size in np.unique(sizes[good]).tolist():
            if size and at + 1 + size <= rows.shape[1]:
                out[sizes == size] = self._ids(rows[sizes == size], slice(at + 1, at + 1 + size))
        found: list[int] = out.tolist()
        return found

    def _ids(self, rows: Bytes, where: slice) -> list[int]:
        """Numbers of the clients whose names stand there, in `names`."""
        size = where.stop - where.start
        known = self._clients.setdefault(size, {})
        texts = np.ascontiguousarray(rows[:, where]).view(f"S{size}")[:, 0].tolist()
        try:
            return [known[text] for text in texts]
        except KeyError:
            pass
        for text in texts:
            if text not in known:
                known[text] = len(self.names)
                self.names.append(text.ljust(size, b"\0").decode(errors="surrogateescape"))
        return [known[text] for text in texts]

    def _take(self, shape: Shape, rows: Bytes, places: NDArray[np.int64], out: Reports) -> None:
        """Put rows that have the shape into the columns."""
        if not shape.plain or shape.session is None or shape.seq is None:
            return
        if any(not self._fitting(name, number) for name, number in shape.numbers.items()):
            return
        if any(token[0] not in _HEADS[self.types[name]] for name, token in shape.tokens.items()):
            return
        odd = np.zeros(len(rows), np.bool_)
        out.client[places] = self._ids(rows, shape.name)
        for number, column in ((shape.session, out.session), (shape.seq, out.seq)):
            found = number.read(rows)
            column[places] = found.astype(np.int64)
            if number.is_float or number.is_truth:
                odd[:] = True
        for name, number in shape.numbers.items():
            found = number.read(rows).astype(np.float64)
            known = np.isfinite(found)
            if not number.is_float:
                odd |= np.abs(found) >= _EXACT
            if not known.all():
                found[~known] = np.nan
            out.values[name][places] = found
            out.states[name][places] = np.where(known, KNOWN, UNKNOWN)
        for name, token in shape.tokens.items():
            out.states[name][places] = UNKNOWN if token == b"\xc0" else TOKEN
            if token != b"\xc0":
                self._token_column(name, out)[places] = _number_of(token, self._token_ids, self.tokens)
        out.odd[places] = odd
        if shape.errors != NO_ERRORS:
            out.errors[places] = _number_of(shape.errors, self._error_ids, self.errors)

    def _fitting(self, name: str, number: Number) -> bool:
        """Whether the number is of the property's type as it stands."""
        type_ = self.types[name]
        if type_ == "bool":
            return number.is_truth
        if type_ == "int":
            return not number.is_truth and not number.is_float
        return type_ == "float" and not number.is_truth

    def _token_column(self, name: str, out: Reports) -> NDArray[np.int32]:
        column = out.tokens.get(name)
        if column is None:
            column = out.tokens[name] = np.full(len(out.client), -1, np.int32)
        return column


def _number_of(encoded: bytes, numbers: dict[bytes, int], known: list[bytes]) -> int:
    """Its place in `known`, to which it is added where it is new."""
    found = numbers.get(encoded)
    if found is None:
        found = numbers[encoded] = len(known)
        known.append(encoded)
    return found

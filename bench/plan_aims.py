"""What the planners aim at, by file and row: figures of known clusters, and what holds for any.

The figures belong to the clusters that they are named after (the project's published inputs); files of other
names are measured by the aims for any cluster alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """What a row reached: a score (or hosts, or us, or a difference), and moves where there are any."""

    value: float
    moves: int | None = None


@dataclass(frozen=True)
class Aim:
    """Bounds for a row; None where there is none."""

    most: float | None = None
    moves: int | None = None
    ratio: float | None = None
    """How many times faster than the peer, at least."""
    seconds: float | None = None
    unit: str = "S"


_TIE = 1e-8
_AIMS: dict[tuple[str, str], Aim] = {
    ("c35", "balance"): Aim(0.11574360, 56, ratio=1000),
    ("c100", "balance"): Aim(0.10984856, 273, seconds=1),
    ("c400", "balance"): Aim(0.10310367, 1014, seconds=15),
    ("s1000", "balance"): Aim(seconds=120),
    ("s1000", "balance, loads"): Aim(seconds=120),
    ("c35", "balance, swaps, at most 130 moves"): Aim(0.0579, 130),
    ("c35", "balance, swaps, at most 140 moves"): Aim(0.0395, 140),
    ("c3", "balance, at most 1 moves"): Aim(0.68497179, 1),
    ("c3", "balance, at most 2 moves"): Aim(0.33358406, 2),
    ("c3", "balance, at most 3 moves"): Aim(0.14103767, 3),
    ("c3", "balance, any number of moves"): Aim(0.13152486),
    ("c10", "balance, at most 8 moves"): Aim(0.13858779, 8),
    ("c35", "evacuate 4 hosts"): Aim(1.11269239, 25, ratio=100),
    ("c400", "place 100"): Aim(50, unit="us"),
}
_PACKED = {
    "p3": (1, 4),
    "p10": (5, 24),
    "p15": (8, 45),
    "p20": (10, 65),
    "p35": (17, 147),
    "p10r64": (4, 30),
    "p15r64": (5, 70),
    "p20r64": (6, 100),
}
"""Hosts and migrations, proven."""
_MIGRATIONS = 1.10


def aim_of(name: str, row: str) -> Aim | None:
    """The aim of a row of the file of this name."""
    if row == "consolidate" and name in _PACKED:
        hosts, fewest = _PACKED[name]
        ratio = 100.0 if name == "p20" else None
        return Aim(hosts, int(fewest * _MIGRATIONS), ratio, unit="hosts")
    if row.startswith("place one"):
        return Aim(1e-9, unit="worse by")
    return _AIMS.get((name, row.removesuffix(", 2 s")))


def judged(
    aim: Aim, figures: Figures | None, seconds: float, peer_s: float | None
) -> tuple[str, bool | None]:
    """The aim in words, and whether it is met; None when there is no peer to measure by."""
    words: list[str] = []
    verdicts: list[bool] = []
    if aim.most is not None and figures is not None:
        words.append(f"{aim.unit} <= {aim.most:g}" if aim.unit != "S" else f"S <= {aim.most:.8f}")
        verdicts.append(figures.value <= aim.most + _TIE)
    if aim.moves is not None and figures is not None and figures.moves is not None:
        words.append(f"in <= {aim.moves}")
        verdicts.append(figures.moves <= aim.moves)
    if aim.seconds is not None:
        words.append(f"<= {aim.seconds:g} s")
        verdicts.append(seconds <= aim.seconds)
    if aim.ratio is not None:
        words.append(f"{aim.ratio:,.0f} x faster")
        if peer_s is None:
            return ", ".join(words), None if all(verdicts) else False
        verdicts.append(peer_s / seconds >= aim.ratio)
    return ", ".join(words), all(verdicts)


def summary(verdicts: Sequence[bool | None]) -> str:
    """One line for the end of the table."""
    met = sum(v is True for v in verdicts)
    return (
        f"{met} of {len(verdicts)} aims met, {sum(v is None for v in verdicts)} without a peer to measure by"
    )

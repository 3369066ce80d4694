"""Planning against ganeti-htools, in one run: `make bench-plan [INPUTS=DIR]`.

Without --inputs, clusters are generated (vmm.policies.generate); with it, every DIR/*.data is read, with
loads from DIR/*.util where there are any. Scores are computed by plan_check.py, which replays each plan step
by step, compares the score after each, and shares no code with the planners; every plan, and every list of
moves that hbal prints, goes through it. Times are medians of so many runs as stand beside them: what takes
more than 10 s runs once. Aims stand beside each figure, met or not.

hbal recomputes the whole score for each guest and host, so its runs are bounded: to the end up to 40 hosts,
above that only the first steps (`-l`), extrapolated to our number of moves; above 200 hosts not at all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import traceback
from pathlib import Path

import plan_peer
from plan_aims import aim_of, judged, summary
from plan_measure import Bench, Row

from vmm.policies.ganeti import format_cluster, format_loads
from vmm.policies.generate import Shape, generate

_GENERATED = {
    "s3": Shape(3, 8, 1),
    "s10": Shape(10, 60, 3),
    "s35": Shape(35, 350, 1),
    "new35": Shape(35, 350, 2, "new-hosts"),
    "uneven35": Shape(35, 350, 5, "uneven"),
    "s100": Shape(100, 2000, 1),
    "s400": Shape(400, 8000, 1),
    "s1000": Shape(1000, 20000, 1),
    "pk10": Shape(10, 60, 3, "packed"),
    "pk20": Shape(20, 160, 2, "packed"),
    "pk35": Shape(35, 350, 2, "packed"),
    "pk20r64": Shape(20, 160, 2, "packed", 64.0),
}
_HEAD = ["", "ours", "time", "runs", "peer", "time", "runs", "ratio", "aim", ""]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.2f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def _cells(name: str, row: Row, verdicts: list[bool | None]) -> list[str]:
    ours_s = row.time.median
    peer_s = row.peer_time.median if row.peer_time else None
    cells = [row.what, row.ours, _ms(ours_s), str(len(row.time.seconds)), row.peer]
    cells += [_ms(peer_s), str(len(row.peer_time.seconds))] if row.peer_time and peer_s else ["", ""]
    cells.append(f"{peer_s / ours_s:,.0f}" if peer_s else "")
    aim = aim_of(name, row.what)
    if aim is None or (row.what.startswith("place one") and row.figures is None):
        return [*cells, "", ""]
    words, met = judged(aim, row.figures, ours_s, peer_s)
    verdicts.append(met)
    return [*cells, words, "no peer" if met is None else "met" if met else "NOT MET"]


def _print(title: str, rows: list[list[str]]) -> None:
    table = [_HEAD, *rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(_HEAD))]
    print(f"\n{title}")
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  " + "  ".join(cells).rstrip(), flush=True)


def _generated(folder: Path) -> None:
    for name, shape in _GENERATED.items():
        cluster = generate(shape)
        (folder / f"{name}.data").write_text(format_cluster(cluster))
        (folder / f"{name}.util").write_text(format_loads(cluster))


def main() -> int:
    """The exit status: 0, or 1 when a file could not be measured or a plan was not as it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--inputs", type=Path, help="Directory of clusters in Ganeti's text format (*.data).")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="Names of clusters, separated by commas.")
    args = parser.parse_args()
    wanted = set(filter(None, args.only.split(",")))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if args.inputs is None:
            _generated(scratch)
        source = args.inputs or scratch
        files = sorted(source.glob("*.data"), key=lambda f: (f.stat().st_size, f.name))
        files = [f for f in files if not wanted or f.stem in wanted]
        if not files:
            named = f" of the names {', '.join(sorted(wanted))}" if wanted else ""
            print(
                f"{source}: no *.data{named} there; name a directory of clusters in Ganeti's text format",
                file=sys.stderr,
            )
            return 2
        if not plan_peer.available():
            print("ganeti-htools is not installed (apt-get install ganeti-htools): no peer in this table.")
        verdicts: list[bool | None] = []
        failed: list[str] = []
        for data in files:
            try:
                bench = Bench(data, scratch, args.runs)
                rows = [_cells(bench.name, row, verdicts) for row in bench.rows()]
                _print(f"{bench.name}: {bench.hosts} hosts, {bench.guests} guests", rows)
            except Exception as error:  # one bad file does not lose the others
                failed.append(data.name)
                print(f"\n{data.name}: {type(error).__name__}: {error}", flush=True)
                if not hasattr(error, "next_step"):
                    traceback.print_exc(limit=-3)
    print(f"\n{summary(verdicts)}; every plan was replayed step by step")
    if failed:
        print(f"not measured: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

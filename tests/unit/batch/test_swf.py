"""The Standard Workload Format."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.batch.swf import Work, parse_swf, read_swf
from vmm.errors import ConfigError
from vmm.ini import FindingsError

HEADER = "; Computer: test\n; Queues: 2\n; Queue: 1 groupA\n;Queue: 2 groupB (long)\n; Group: 7 hep\n"


def line(number: int = 1, submit: float = 0, run: float = 60, procs: int = 1, **more: int) -> str:
    fields = [number, submit, -1, run, procs, -1, -1, more.get("asked", -1), -1, -1, 1]
    fields += [more.get("user", -1), more.get("group", -1), -1, more.get("queue", -1), -1, -1, -1]
    return " ".join(map(str, fields)) + "\n"


def test_jobs_in_order_of_submission(tmp_path: Path) -> None:
    text = HEADER + line(2, 30, 5, 2, queue=2, user=4) + "\n" + line(1, 10, 60, queue=1)
    for name, data in (("w.swf", text.encode()), ("w.swf.gz", gzip.compress(text.encode()))):
        path = tmp_path / name
        path.write_bytes(data)
        assert read_swf(path) == [
            Work("1", "groupA", 10, 60, 1, ""),
            Work("2", "groupB", 30, 5, 2, "user4"),
        ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (line(queue=9), Work("1", "queue9", 0, 60)),
        (line(group=7), Work("1", "hep", 0, 60)),
        (line(group=8), Work("1", "group8", 0, 60)),
        (line(), Work("1", "group0", 0, 60)),
        (line(procs=-1, asked=4, queue=1), Work("1", "groupA", 0, 60, 4)),
        (line(procs=0, queue=1), Work("1", "groupA", 0, 60, 1)),
        (line(run=0.5, queue=1), Work("1", "groupA", 0, 0.5)),
    ],
)
def test_what_fields_mean(text: str, expected: Work) -> None:
    assert parse_swf((HEADER + text).splitlines()) == ([expected], [])


def test_a_job_that_never_ran_is_left_out() -> None:
    assert parse_swf([line(run=-1)]) == ([], [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 2 3\n", "3 fields instead of 18"),
        (line().strip() + " 9\n", "19 fields"),
        (line().replace("60", "sixty"), "run time: 'sixty' is not a number"),
        (line().replace("60", "nan"), "run time: 'nan'"),
        (line(submit=-5), "submit time: it cannot be negative"),
        (line(number=-1), "job number"),
        (line() + line(submit=9), "job 1 stands here a second time (first at line 6)"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "w.swf"
    path.write_text(HEADER + text)
    with pytest.raises(FindingsError) as caught:
        read_swf(path)
    (finding,) = caught.value.findings
    assert words in finding.message
    assert finding.line == 5 + text.count("\n")
    assert str(finding).startswith(f"{path}:")


def test_findings_are_bounded() -> None:
    _, findings = parse_swf(["x"] * 1000)
    assert len(findings) == 20


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    torn = tmp_path / "torn.gz"
    torn.write_bytes(b"\x1f\x8b\x08")
    for path in (tmp_path / "none.swf", torn):
        with pytest.raises(ConfigError, match=path.name):
            read_swf(path)


@given(st.text())
def test_any_text_is_jobs_or_findings(text: str) -> None:
    works, findings = parse_swf(text.splitlines())
    assert all(work.cpus >= 1 and work.runtime_s >= 0 for work in works)
    assert all(finding.line >= 1 for finding in findings)

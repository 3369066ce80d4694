"""How far a profile lets its running guests go."""

from __future__ import annotations

import pytest

from vmm.cluster.profiles import check_entitlements

BASE = "[small]\ntemplate = a.qcow2\nvcpus = 2\nmemory = 1GiB\n"


def test_bounds_are_read() -> None:
    bounds = "max_memory = 4GiB\nmin_memory = 512MiB\nmax_vcpus = 8\nmin_vcpus = 2\n"
    found, findings = check_entitlements(BASE + bounds, "", "profiles.ini", "shares.ini")
    profile = found.profiles["small"]
    assert findings == []
    assert (profile.min_memory_mib, profile.memory_mib, profile.max_memory_mib) == (512, 1024, 4096)
    assert (profile.min_vcpus, profile.vcpus, profile.max_vcpus) == (2, 2, 8)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("max_memory = 1000MiB", "max_memory is below memory"),
        ("min_memory = 2GiB", "min_memory is above memory"),
        ("max_vcpus = 1", "max_vcpus is below vcpus"),
        ("min_vcpus = 3", "min_vcpus is above vcpus"),
        ("min_vcpus = 0", "0 is too few"),
    ],
)
def test_bounds_that_contradict_are_found_with_their_line(line: str, said: str) -> None:
    found, findings = check_entitlements(BASE + line, "", "profiles.ini", "shares.ini")
    assert found.profiles == {}
    assert [(f.file, f.line) for f in findings] == [("profiles.ini", 5)]
    assert said in findings[0].message

"""A small cluster to decide about: the shipped rules, two shares, hosts with room for two guests each."""

from __future__ import annotations

from pathlib import Path

from vmm.simulate import Faults, SimHost, SimJob, Simulation

ETC = Path(__file__).parents[3] / "etc"

PROFILES = """
[groupA]
template = groupA.qcow2
vcpus = 1
memory = 1GiB
addresses = 10.0.0.100 - 10.0.0.149 / 24
gateway = 10.0.0.1
[groupB]
template = groupB.qcow2
vcpus = 1
memory = 1GiB
addresses = 10.0.0.150 - 10.0.0.199 / 24
gateway = 10.0.0.1
"""
SHARES = """
[groupA]
profile = groupA
guaranteed = 1
[groupB]
profile = groupB
guaranteed = 1
"""
SETTINGS = {"boot_deadline_s": 30.0, "backoff_s": 10.0, "give_up_after": 3.0, "shards": 8.0}


def shipped_files(shrink: str = "20s") -> dict[str, str]:
    """The shipped rules with a shorter idle time, and the test's own profiles and shares."""
    triggers = (ETC / "triggers.ini").read_text()
    assert "for = 5m" in triggers
    return {
        "properties.ini": (ETC / "properties.ini").read_text(),
        "triggers.ini": triggers.replace("for = 5m", f"for = {shrink}"),
        "profiles.ini": PROFILES,
        "shares.ini": SHARES,
    }


class Bench:
    """Makes simulations and keeps the asserts short."""

    def make(
        self,
        jobs: list[SimJob],
        *,
        hosts: int = 1,
        guests_per_host: int = 1,
        faults: Faults | None = None,
        settings: dict[str, float] | None = None,
        files: dict[str, str] | None = None,
        seed: int = 0,
    ) -> Simulation:
        memory_mib = 512 + 1024 * guests_per_host
        machines = [SimHost(f"host{n}", memory_mib=memory_mib) for n in range(hosts)]
        return Simulation(
            files or shipped_files(),
            machines,
            jobs,
            settings={**SETTINGS, **(settings or {})},
            faults=faults,
            seed=seed,
        )

"""What the stories of dead hosts share: wishes, guests with a job, and where guests really are."""

from __future__ import annotations

from decide_bench import SHARES, Bench, shipped_files

from vmm.decide.events import Wished
from vmm.messages.structs import Intent
from vmm.simulate import SimJob, Simulation


def wish(sim: Simulation, name: str, **args: str) -> list[str]:
    """Say it; the refusals of it."""
    before = len(sim.notes)
    serial = sum(isinstance(entry.event, Wished) for entry in sim.entries)
    sim.emit(Wished(Intent(f"w{serial}-{sim.now_s:g}", name, dict(args), "ann", "power is off")))
    return [note.text for note in sim.notes[before:] if f"{name} by ann was refused" in note.text]


def only(sim: Simulation) -> tuple[str, str, str]:
    """(guest, its host, the other host)."""
    (guest,) = sim.core.state.guests.values()
    return guest.name, guest.host, "host1" if guest.host == "host0" else "host0"


def guest_state(sim: Simulation) -> str:
    return next((guest.state for guest in sim.core.state.guests.values()), "")


def places(sim: Simulation, name: str) -> list[str]:
    return [host.name for host in sim.hosts.values() if name in host.guests]


def fact(sim: Simulation, host: str) -> object:
    reading = sim.core.state.world.hosts.get(host, "state")
    return reading.value if reading is not None else None


def with_a_job(bench: Bench, **more: object) -> Simulation:
    """A guest that runs a job; room for one guest on each of two hosts. Its share takes one guest."""
    files = shipped_files() | {"shares.ini": SHARES.replace("[groupB]", "max_guests = 1\n[groupB]")}
    sim = bench.make([SimJob("1", "groupA", 5.0, 60.0)], hosts=2, files=files, **more)  # type: ignore[arg-type]
    assert sim.run_until(lambda: guest_state(sim) == "ready" and sim.batch.jobs[0].started_s is not None, 60)
    sim.run(sim.now_s + 3)
    return sim


def with_a_lost_guest(bench: Bench, **more: object) -> Simulation:
    """Its host died, and ann has said so. Rules are paused, so that only what a test says is done."""
    sim = with_a_job(bench, **more)
    wish(sim, "pause")
    _, host, _ = only(sim)
    sim.kill_host(host)
    assert wish(sim, "fence_host", host=host) == []
    assert sim.run_until(lambda: sim.core.state.guests[only(sim)[0]].drained_s >= 0, 30)
    return sim

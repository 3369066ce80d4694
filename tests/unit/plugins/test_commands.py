"""The built-in commands, over the in-memory hypervisor and batch system."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from vmm.batch.memory import MemoryBatch
from vmm.config import HypervisorSettings
from vmm.hypervisors.memory import MemoryHypervisor
from vmm.messages.guest import GuestSpec, spec_to_args
from vmm.plugins.hookspecs import Context
from vmm.plugins.manager import load_plugins
from vmm.plugins.run import Outcome, PluginRunner

COMMANDS = load_plugins().commands
UUID = "00000000-0000-4000-8000-000000000001"
SPEC = GuestSpec("g1", UUID, "52:54:00:00:00:01", "A", "small", "a.qcow2", 1, 256, "br0")


@pytest.fixture
def dom0() -> Iterator[Context]:
    host = MemoryHypervisor(HypervisorSettings(memory_mib=2048, boot_s=0.0), "h1")
    yield Context("h1", "dom0", hypervisor=host)
    host.close()


@pytest.fixture
def batch() -> Iterator[Context]:
    made = MemoryBatch()
    made.register("n1", ["A"], 1)
    yield Context("b1", "batch", batch=made)
    made.close()


def do(context: Context, command: str, /, **args: Any) -> Outcome:
    return PluginRunner().execute(COMMANDS[command], context, args)


def test_a_guest_by_commands(dom0: Context) -> None:
    assert dom0.hypervisor is not None
    made = do(dom0, "create_guest", guest=spec_to_args(SPEC))
    assert made.value == {"name": "g1", "uuid": UUID}
    assert do(dom0, "create_guest", guest=spec_to_args(SPEC)).ok
    assert do(dom0, "shutdown_guest", name="g1", grace_s=10).ok
    assert [g.state for g in dom0.hypervisor.guests()] == ["off"]
    assert do(dom0, "start_guest", name="g1").ok
    assert "booting a.qcow2" in str(do(dom0, "console_tail", name="g1", lines=50).value)
    assert do(dom0, "destroy_guest", name="g1", grace_s=0.0).ok
    assert do(dom0, "destroy_guest", name="g1").ok
    assert dom0.hypervisor.guests() == []


@pytest.mark.parametrize(
    ("guest", "code", "words"),
    [
        ({}, "bad-guest", "name"),
        ({**spec_to_args(SPEC), "vcpus": "two"}, "bad-guest", "vcpus"),
        ({**spec_to_args(SPEC), "name": "../x"}, "bad-guest", "../x"),
        ({**spec_to_args(SPEC), "memory_mib": 10**6}, "no-memory", "MiB"),
    ],
)
def test_guests_that_cannot_be(dom0: Context, guest: dict[str, Any], code: str, words: str) -> None:
    got = do(dom0, "create_guest", guest=guest)
    assert (got.code, words in got.message, bool(got.next_step)) == (code, True, True)


def test_nodes_by_commands(batch: Context) -> None:
    assert batch.batch is not None
    assert do(batch, "drain_node", node="n1", reason="make room").value == {"node": "n1"}
    assert [(n.state, n.reason) for n in batch.batch.nodes()] == [("drained", "make room")]
    assert do(batch, "resume_node", node="n1").ok
    assert do(batch, "delete_node", node="n1").ok
    assert do(batch, "delete_node", node="n1").ok
    assert do(batch, "drain_node", node="n1", reason="x").code == "no-such-node"


def test_every_built_in_command_can_be_repeated() -> None:
    assert all(command.repeatable for command in COMMANDS.values())


def test_clients_without_what_is_needed() -> None:
    assert "has no hypervisor" in do(Context("x", "dom0"), "start_guest", name="g").message
    assert "has no batch system" in do(Context("x", "batch"), "resume_node", node="n").message


def test_a_guest_is_resized_and_what_it_has_is_told(dom0: Context) -> None:
    spec = msgspec.structs.replace(SPEC, max_memory_mib=1024, max_vcpus=2)
    assert do(dom0, "create_guest", guest=spec_to_args(spec)).ok
    for _ in range(2):
        got = do(dom0, "resize_guest", name="g1", memory_mib=512, cpu_cap=1)
        assert got.value == {"name": "g1", "memory_mib": 512, "vcpus": 1, "cpu_weight": 1.0, "cpu_cap": 1.0}
    assert do(dom0, "resize_guest", name="g1", vcpus=3).code == "over-limit"
    assert do(dom0, "resize_guest", name="g1", vcpus=1.5).code == "bad-args"
    assert do(dom0, "resize_guest", vcpus=1).code == "bad-args"

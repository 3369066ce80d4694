"""The built-in properties: parsers over recorded texts, and each collector over this machine once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vmm.batch.memory import MemoryBatch
from vmm.batch.swf import Work
from vmm.config import HypervisorSettings
from vmm.hypervisors.memory import MemoryHypervisor
from vmm.messages.guest import GuestSpec
from vmm.plugins.hookspecs import Context
from vmm.plugins.manager import load_plugins
from vmm.plugins.properties import _proc
from vmm.plugins.properties.cpu import CpuUse, parse_cpu, share_percent
from vmm.plugins.properties.disk import parse_diskstats
from vmm.plugins.properties.memory import parse_meminfo
from vmm.plugins.properties.network import parse_net_dev
from vmm.plugins.run import Outcome, PluginRunner

PLUGINS = load_plugins()
HERE = Context("guest1", "domU")
ANYWHERE = sorted(name for name, c in PLUGINS.collectors.items() if "domU" in c.roles)

MEMINFO = """MemTotal:       24683600 kB
MemFree:        23000000 kB
MemAvailable:   24000000 kB
HugePages_Total:       3
Hugepagesize:       2048 kB
nonsense
"""
STAT = """cpu  100 5 50 800 40 1 2 2 0 0
cpu0 50 5 25 400 20 1 1 1 0 0
cpu1 50 0 25 400 20 0 1 1 0 0
intr 12345
"""
NET_DEV = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls
    lo:  100       2    0    0    0     0          0         0      100       2    0    0    0     0   0 0
eth0.5:1600 10 1 0 0 0 0 0 700 5 2 0 0 0 0 0
"""
DISKSTATS = """ 254 0 vda 100 0 2000 10 50 0 800 20 0 30 30 0 0 0 0
 254 1 vda1 100 0 1000 10 50 0 400 20 0 30 30 0 0 0 0
   7 0 loop0 9 0 9 9 9 0 9 9 0 9 9
 259 0 nvme0n1 1 0 4 1 1 0 2 1 0 1 1
 259 1 nvme0n1p1 1 0 4 1 1 0 2 1 0 1 1
 253 0 dm-0 1 0 4 1 1 0 2 1 0 1 1
"""


def read(name: str, parameters: str = "", context: Context = HERE) -> Outcome:
    return PluginRunner().collect(PLUGINS.collectors[name], context, parameters)


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc of recorded files."""
    files = {"meminfo": MEMINFO, "stat": STAT, "net/dev": NET_DEV, "diskstats": DISKSTATS}
    files |= {"loadavg": "0.39 1.19 2.09 2/103 4711\n", "uptime": "2003.26 3000.00\n"}
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(_proc, "PROC", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "parameters", "value"),
    [
        ("ram", "MemFree", 22460),
        ("ram", " MemTotal ", 24105),
        ("ram", "", 23437),
        ("ram", "HugePages_Total", 3),
        ("ram_used", "", 2.77),
        ("cpus", "", 2),
        ("load", "", 0.39),
        ("load", "15", 2.09),
        ("uptime", "", 2003.26),
        ("processes", "", 103),
        ("net_rx", "", 1600),
        ("net_tx", "lo", 100),
        ("disk_read", "", 2004 * 512),
        ("disk_read", "/dev/vda1", 1000 * 512),
        ("disk_written", "vda", 800 * 512),
    ],
)
def test_values(proc: Path, name: str, parameters: str, value: object) -> None:
    assert read(name, parameters) == Outcome(value, duration_s=pytest.approx(0, abs=10))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "parameters", "hint"),
    [
        ("ram", "MemFrei", "MemFree"),
        ("load", "2", "15"),
        ("cpu", "busy", "iowait"),
        ("net_rx", "eth7", "eth0.5"),
        ("disk_read", "sda", "vda1"),
        ("disk", "/no/such/folder", "folder"),
    ],
)
def test_parameters_that_cannot_be(proc: Path, name: str, parameters: str, hint: str) -> None:
    got = read(name, parameters)
    assert got.code == "bad-parameters"
    assert parameters in got.message
    assert hint in got.next_step


def test_a_missing_proc(proc: Path) -> None:
    (proc / "meminfo").unlink()
    got = read("ram")
    assert not got.ok
    assert "meminfo cannot be read" in got.message


@pytest.mark.parametrize("name", ANYWHERE)
def test_each_works_on_this_machine(name: str) -> None:
    got = read(name)
    assert got.ok, got.error


def test_the_table_of_interfaces_has_its_columns() -> None:
    rows = read("net").value
    assert isinstance(rows, list)
    assert all(tuple(row) == PLUGINS.collectors["net"].columns for row in rows)


def test_parsers_take_any_text() -> None:
    for parse in (parse_meminfo, parse_net_dev, parse_diskstats, parse_cpu):
        parse("")
        parse("a: b c\n: :\n1 2 3\n")  # type: ignore[operator]


def test_processor_use_is_that_since_the_last_reading(proc: Path) -> None:
    use = CpuUse()
    use.read(HERE, "")
    (proc / "stat").write_text(STAT.replace("cpu  100 5 50 800 40", "cpu  130 5 60 850 50"))
    assert use.read(HERE, "") == 40.0
    assert use.read(HERE, "") == 0.0  # no time passed
    before, after = {"user": 0, "idle": 0, "iowait": 0}, {"user": 1, "idle": 2, "iowait": 1}
    assert share_percent(before, after, "user") == 25.0


def spec(name: str, **more: object) -> GuestSpec:
    fields: dict[str, object] = {"name": name, "uuid": f"00000000-0000-4000-8000-00000000000{name[-1]}"}
    fields |= {"mac": "52:54:00:00:00:01", "share": "A", "profile": "p", "template": "t", "vcpus": 2}
    return GuestSpec(**{**fields, "memory_mib": 300, "network": "br0", **more})  # type: ignore[arg-type]


def test_what_a_host_shows() -> None:
    settings = HypervisorSettings(memory_mib=2000, reserve_mib=500, boot_s=0.0)
    host = MemoryHypervisor(settings, "h1")
    host.create(spec("g1"))
    host.create(spec("g2", memory_mib=200))
    host.shutdown("g2", 10.0)
    context = Context("h1", "dom0", hypervisor=host)
    facts = read("host_facts", context=context).value
    assert isinstance(facts, dict)
    assert (facts["name"], facts["memory_mib"], facts["reserved_mib"]) == ("h1", 2000, 500)
    assert set(facts) == set(PLUGINS.collectors["host_facts"].columns)
    rows = read("guests", context=context).value
    assert isinstance(rows, list)
    assert [(row["name"], row["state"]) for row in rows] == [("g1", "running"), ("g2", "off")]
    assert all(tuple(row) == PLUGINS.collectors["guests"].columns for row in rows)
    numbers = {
        name: read(name, context=context).value
        for name in ("guest_count", "guest_memory", "guest_memory_free", "guest_vcpus")
    }
    assert numbers == {"guest_count": 2, "guest_memory": 300, "guest_memory_free": 1200, "guest_vcpus": 2}
    assert read("guest_count", "off", context).value == 1
    assert read("guest_count", "managed", context).value == 2
    assert read("guest_count", "sleeping", context).code == "bad-parameters"
    host.close()
    assert read("guests", context=context).code == "hypervisor-down"


def test_what_a_batch_system_shows() -> None:
    works = [Work(str(n), "A" if n < 3 else "B", 0.0, 100.0) for n in range(5)]
    batch = MemoryBatch(works)
    batch.register("n1", ["A"], 1)
    batch.register("n2", ["C"], 1)
    batch.drain("n2", "x")
    context = Context("b1", "batch", batch=batch)
    jobs, nodes = read("batch_jobs", context=context).value, read("batch_nodes", context=context).value
    assert isinstance(jobs, list)
    assert isinstance(nodes, list)
    assert [job["state"] for job in jobs] == ["running"] + ["pending"] * 4
    assert all(tuple(job) == PLUGINS.collectors["batch_jobs"].columns for job in jobs)
    assert [(n["name"], n["state"]) for n in nodes] == [("n1", "busy"), ("n2", "drained")]
    assert [read("queue_pending", queue, context).value for queue in ("", "A", "B", "none")] == [4, 2, 2, 0]
    assert read("queue_running", "A", context).value == 1
    assert read("queue_held", "", context).value == 0
    assert read("nodes_busy", "A", context).value == 1
    assert read("nodes_drained", "", context).value == 1
    stats = read("batch_stats", "A", context).value
    assert isinstance(stats, list)
    assert (stats[0]["waiting"], stats[0]["running"]) == (2, 1)
    batch.close()
    assert read("batch_jobs", context=context).code == "batch-down"


@pytest.mark.parametrize(("name", "role"), [("guests", "dom0"), ("batch_jobs", "batch")])
def test_a_context_without_what_is_needed(name: str, role: str) -> None:
    assert "has no" in read(name, context=Context("x", role)).message


def test_free_room_is_that_of_the_file_system(tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)
    value = read("disk", str(tmp_path)).value
    assert isinstance(value, int)
    assert 0 <= value <= room.f_blocks * room.f_frsize >> 20

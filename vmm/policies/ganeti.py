"""Ganeti's text format (`hbal -t`, `-U`): from text to a Cluster and back. Opens no file.

Meaning of the fields as measured from ganeti-htools 3.0: a move is legal when the target is online,
keeps more than 0 MiB free, and stays within the policy's vCPU ratio. Guests on shared storage ('ext',
'rbd', 'gluster', 'sharedfile', 'blockdev', 'diskless') may go to any host of their group; others stay. A
DRBD guest's secondary keeps the memory of the primary with the most guests there, should it be lost.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vmm.policies.errors import BadCluster, BadFile
from vmm.policies.model import Cluster, Guest, Host, HostState, Load

SHARED = frozenset({"ext", "rbd", "gluster", "sharedfile", "blockdev", "diskless"})
_DEFAULT_RATIO, _DEFAULT_SPINDLE_RATIO = 4.0, 32.0
_EXCLUSION_PREFIX = "htools:iextags:"


def parse_cluster(text: str, file: str = "<cluster>", loads: Mapping[str, Load] | None = None) -> Cluster:
    """Cluster from the text format. `loads` by guest name replace the default load of (1, 1, 1, 1) per guest.

    Raises BadFile with file and line for what cannot be read, BadCluster for what makes no sense.
    """
    sections = _sections(text)
    if len(sections) < 3:
        raise BadFile(
            file,
            text.count("\n") + 1,
            f"found {len(sections)} sections, expected groups, nodes, instances",
            next_step="separate the sections by one empty line",
        )
    policies = sections[4] if len(sections) > 4 else []
    ratios = _ratios(policies, file, 4, "vCPU ratio")
    spindle_ratios = _ratios(policies, file, 5, "spindle ratio")
    groups = {fields[1]: fields[0] for _, fields in sections[0] if len(fields) > 1}
    exclusion = _exclusion_tags(sections[3] if len(sections) > 3 else [])
    nodes = [_node(fields, file, line) for line, fields in sections[1]]
    known = {fields[0]: fields for _, fields in sections[1]}
    for line, fields in sections[1]:
        if groups and fields[8] not in groups:
            raise BadFile(file, line, f"node {fields[0]!r} is in unknown group {fields[8]!r}")
    ones = Load(1.0, 1.0, 1.0, 1.0)
    guests = []
    used: dict[str, float] = dict.fromkeys(known, 0.0)
    local = _Local()
    for line, fields in sections[2]:
        guest = _instance(fields, file, line, known, loads, ones, exclusion)
        guests.append(guest)
        used[guest.host or ""] += guest.memory_mib
        if guest.immovable:
            local.add(guest, fields, file, line)
    hosts = []
    for (_, fields), numbers in zip(sections[1], nodes, strict=True):
        host = _host(fields, numbers, used[fields[0]], ratios, groups)
        hosts.append(local.applied(host, numbers.get(9, 0.0), spindle_ratios) if local.any else host)
    for name in sorted((loads or {}).keys() - {g.name for g in guests})[:1]:
        raise BadCluster(
            f"there are loads of guest {name!r}, which is not in the cluster",
            next_step="measure and describe the cluster at the same time, or take the guest out of the loads",
        )
    return Cluster(hosts, guests)


def parse_loads(text: str, file: str = "<loads>") -> dict[str, Load]:
    """Loads from `hbal -U` format: `guest cpu memory disk network`, one guest a line."""
    loads = {}
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 5:
            raise BadFile(file, number, f"{len(fields)} fields, expected 5: guest cpu memory disk network")
        values = [_number(value, file, number, f"load of guest {fields[0]!r}") for value in fields[1:]]
        if min(values) < 0:
            raise BadFile(
                file,
                number,
                f"guest {fields[0]!r} has load {' '.join(fields[1:])}",
                next_step="give numbers >= 0",
            )
        if fields[0] in loads:
            raise BadFile(file, number, f"guest {fields[0]!r} is there twice", next_step="drop one line")
        loads[fields[0]] = Load(*values)
    return loads


def format_cluster(cluster: Cluster) -> str:
    """The text format for a cluster on shared storage (what the generator makes): each group has one network
    and one vCPU ratio, exclusion tags are `prefix:value`."""
    used = dict.fromkeys(cluster.host_by_name, 0.0)
    for guest in cluster.guests:
        if guest.host is not None:
            used[guest.host] += guest.memory_mib
    groups = {h.group or "g0": (min(h.networks, default="uuid-g0"), h.vcpu_ratio) for h in cluster.hosts}
    lines = [f"{name}|{uuid}|preferred||" for name, (uuid, _) in groups.items()] or ["g0|uuid-g0|preferred||"]
    lines.append("")
    for host in cluster.hosts:
        free = host.memory_mib - host.memory_own_mib - used[host.name]
        state = "Y" if host.state is HostState.OFFLINE else "N"
        lines.append(
            f"{host.name}|{host.memory_mib:.0f}|{host.memory_own_mib:.0f}|{free:.0f}|0|0|{host.cpus:.0f}|{state}"
            f"|{groups[host.group or 'g0'][0]}|1||N|0|{host.vcpus_own:.0f}|{host.cpu_speed}"
        )
    lines.append("")
    lines += [
        f"{g.name}|{g.memory_mib:.0f}|{g.disk_mib:.0f}|{g.vcpus:.0f}|running|Y|{g.host}||ext"
        f"|{','.join(sorted(g.anti_affinity))}|1|-"
        for g in cluster.guests
    ]
    prefixes = {tag.rsplit(":", 1)[0] for g in cluster.guests for tag in g.anti_affinity}
    lines += ["", *(_EXCLUSION_PREFIX + prefix for prefix in sorted(prefixes)), ""]
    policy = "1024,1,10240,1,1,1|128,1,1024,1,1,1;65536,16,1048576,16,8,12|ext"
    of_all = next(iter(groups.values()))[1] if groups else _DEFAULT_RATIO
    lines.append(f"|{policy}|{of_all}|32.0")
    lines += [f"{name}|{policy}|{ratio}|32.0" for name, (_, ratio) in groups.items()]
    return "\n".join([*lines, ""])


def format_loads(cluster: Cluster) -> str:
    """`hbal -U` format."""
    return "".join(
        f"{g.name} {g.load.cpu:.4f} {g.load.memory:.4f} {g.load.disk:.4f} {g.load.network:.4f}\n"
        for g in cluster.guests
    )


_Row = tuple[int, list[str]]


def _sections(text: str) -> list[list[_Row]]:
    sections: list[list[_Row]] = [[]]
    for number, line in enumerate(text.splitlines(), 1):
        if line == "":
            sections.append([])
        else:
            sections[-1].append((number, line.split("|")))
    return sections


def _number(value: str, file: str, line: int, what: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise BadFile(file, line, f"{what} is {value!r}, not a number") from None
    if not math.isfinite(number):
        raise BadFile(file, line, f"{what} is {value!r}", next_step="give a finite number")
    return number


_NODE_FIELDS = {
    1: "memory",
    2: "memory used by the host",
    3: "free memory",
    4: "disk",
    5: "free disk",
    6: "CPUs",
    9: "spindles",
    13: "host vCPUs",
    14: "speed",
}


def _node(fields: Sequence[str], file: str, line: int) -> dict[int, float]:
    if len(fields) < 9:
        raise BadFile(
            file,
            line,
            f"node {fields[0]!r} has {len(fields)} fields, expected at least 9",
            next_step="compare with gnt-cluster's htools text format",
        )
    if fields[7] not in ("N", "Y", "M"):
        raise BadFile(file, line, f"node {fields[0]!r}: offline field is {fields[7]!r}, expected N, Y or M")
    if not fields[0]:
        raise BadFile(file, line, "a node has no name", next_step="name it")
    if fields[7] == "Y" or "?" in fields[1:7]:
        return {}  # what a host that is off has is told as "?" or 0, if at all; it takes no guest anyway
    numbers = {
        i: _number(fields[i], file, line, f"node {fields[0]!r}: {what}")
        for i, what in _NODE_FIELDS.items()
        if i < len(fields)
    }
    for free, whole in ((3, 1), (5, 4)):
        if numbers[free] > numbers[whole]:
            raise BadFile(
                file,
                line,
                f"node {fields[0]!r}: {_NODE_FIELDS[free]} ({fields[free]}) exceeds its"
                f" {_NODE_FIELDS[whole]} ({fields[whole]})",
                next_step="correct one of them",
            )
    return numbers


class _Local:
    """What guests on local disks take of their hosts: spindles, and memory kept where their secondary is."""

    def __init__(self) -> None:
        self.any = False
        self._spindles: Counter[str] = Counter()
        self._standby: dict[str, Counter[str]] = {}

    def add(self, guest: Guest, fields: Sequence[str], file: str, line: int) -> None:
        self.any = True
        busy = (
            _number(fields[10], file, line, f"instance {guest.name!r}: spindles") if len(fields) > 10 else 1
        )
        for host in filter(None, (guest.host, guest.secondary)):
            self._spindles[host] += busy  # type: ignore[assignment]  # spindles may be parts
        if guest.secondary and (len(fields) < 6 or fields[5] == "Y"):
            kept = self._standby.setdefault(guest.secondary, Counter())
            kept[guest.host or ""] += guest.memory_mib  # type: ignore[assignment]

    def applied(self, host: Host, spindles: float, ratios: Mapping[str, float]) -> Host:
        """The host with its spindles' use, and with the reserve for the host whose loss would need most."""
        all_spindles = spindles * ratios.get(host.group, ratios.get("", _DEFAULT_SPINDLE_RATIO))
        standby_mib = float(max(self._standby.get(host.name, {}).values(), default=0))
        most_mib = host.memory_mib - host.memory_own_mib
        return replace(
            host,
            spindles_used=self._spindles[host.name] / all_spindles if all_spindles else 0.0,
            standby_mib=standby_mib,
            memory_reserve_mib=min(host.memory_reserve_mib + standby_mib, most_mib),
        )


def _host(
    fields: Sequence[str],
    number: Mapping[int, float],
    used_mib: float,
    ratios: Mapping[str, float],
    groups: Mapping[str, str],
) -> Host:
    group = fields[8]
    if not number:
        return Host(
            name=fields[0],
            memory_mib=max(used_mib, 1.0),
            cpus=1.0,
            state=HostState.OFFLINE,
            networks=frozenset({group}),
            group=groups.get(group, group),
        )
    # Memory that neither the host nor a known guest uses is unaccounted for; it stays used throughout.
    unaccounted_mib = max(0.0, number[1] - number[2] - used_mib - number[3])
    reserve_mib = (
        1.0 if number[1] - number[2] - unaccounted_mib >= 1 else 0.0
    )  # "more than 0 MiB free" in whole MiB
    return Host(
        name=fields[0],
        memory_mib=number[1],
        memory_own_mib=number[2] + unaccounted_mib,
        memory_reserve_mib=reserve_mib,
        cpus=number[6],
        vcpus_own=number.get(13, 1.0),
        vcpu_ratio=ratios.get(groups.get(group, ""), ratios.get("", _DEFAULT_RATIO)),
        cpu_speed=number.get(14, 1.0),
        disk_mib=number[4],
        disk_own_mib=max(0.0, number[4] - number[5]),
        networks=frozenset({group}),
        group=groups.get(group, group),
    )


def _instance(
    fields: Sequence[str],
    file: str,
    line: int,
    nodes: Mapping[str, Sequence[str]],
    loads: Mapping[str, Load] | None,
    ones: Load,
    exclusion: Sequence[str],
) -> Guest:
    if len(fields) < 9:
        raise BadFile(file, line, f"instance {fields[0]!r} has {len(fields)} fields, expected at least 9")
    name, template = fields[0], fields[8]
    if not name:
        raise BadFile(file, line, "an instance has no name", next_step="name it")
    if fields[6] not in nodes:
        raise BadFile(file, line, f"instance {name!r} is on unknown node {fields[6]!r}")
    if fields[7] and fields[7] not in nodes:
        raise BadFile(file, line, f"instance {name!r} has its secondary on unknown node {fields[7]!r}")
    tags = fields[9].split(",") if len(fields) > 9 and fields[9] else []
    return Guest(
        name=name,
        memory_mib=_number(fields[1], file, line, f"instance {name!r}: memory"),
        vcpus=_number(fields[3], file, line, f"instance {name!r}: vCPUs"),
        disk_mib=_number(fields[2], file, line, f"instance {name!r}: disk"),
        host=fields[6],
        load=ones if loads is None else loads.get(name, ones),
        networks=frozenset({nodes[fields[6]][8]}),
        anti_affinity=frozenset(t for t in tags if any(t == e or t.startswith(e + ":") for e in exclusion)),
        immovable=""
        if template in SHARED
        else f"its disk template {template!r} cannot be migrated to any host",
        secondary=fields[7],
        disk_bound=template not in SHARED,
    )


def _ratios(rows: Sequence[_Row], file: str, at: int, what: str) -> dict[str, float]:
    return {
        fields[0]: _number(fields[at], file, line, f"policy of {fields[0] or 'the cluster'!r}: {what}")
        for line, fields in rows
        if len(fields) > at
    }


def _exclusion_tags(rows: Sequence[_Row]) -> list[str]:
    tags = [tag for _, fields in rows for field in fields for tag in field.split(",")]
    return [tag[len(_EXCLUSION_PREFIX) :] for tag in tags if tag.startswith(_EXCLUSION_PREFIX)]

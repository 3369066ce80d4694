"""The names a rule may use: columns of each kind of subject, and the operations of `sender`.

`default_schema()` holds what the Manager itself fills in; `Schema.with_properties` adds the sections of
properties.ini. The reference documents are generated from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

KINDS = ("client", "host", "guest", "share")
PLURALS = {kind + "s": kind for kind in KINDS}


class PropertyLike(Protocol):
    """What `with_properties` needs of a property (vmm.rules.properties.PropertySpec has it)."""

    @property
    def name(self) -> str: ...
    @property
    def return_type(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def max_age_s(self) -> float: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def description(self) -> str: ...


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """A published name. `type` is int, float, bool, str, table or dict; `columns` are a table's."""

    name: str
    type: str
    unit: str = ""
    description: str = ""
    max_age_s: float = inf
    columns: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    """For a text with few possible values: all of them."""
    is_property: bool = False


@dataclass(frozen=True, slots=True)
class Parameter:
    """An operation's parameter: `type` is a kind of subject, or str, int, float, bool."""

    name: str
    type: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Operation:
    """What `cmd` may call on `sender`. `rest` types further positional ones, `keywords` allows any others."""

    name: str
    parameters: tuple[Parameter, ...] = ()
    rest: str = ""
    keywords: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """All published names."""

    kinds: Mapping[str, Mapping[str, ColumnSpec]]
    operations: Mapping[str, Operation]

    def with_properties(self, specs: Iterable[PropertyLike] | Mapping[str, PropertyLike]) -> Schema:
        """The schema plus properties: on clients, for role dom0 also on hosts, for domU also on guests.

        A property never replaces a built-in column (load_properties reports that as an error).
        """
        kinds = {kind: dict(columns) for kind, columns in self.kinds.items()}
        for spec in specs.values() if isinstance(specs, Mapping) else specs:
            column = ColumnSpec(
                spec.name,
                spec.return_type,
                spec.unit,
                spec.description,
                spec.max_age_s,
                tuple(spec.columns),
                is_property=True,
            )
            for kind, role in (("client", None), ("host", "dom0"), ("guest", "domU")):
                if role is None or role in spec.roles:
                    kinds[kind].setdefault(spec.name, column)
        return replace(self, kinds=kinds)


def _columns(*specs: ColumnSpec) -> dict[str, ColumnSpec]:
    return {spec.name: spec for spec in specs}


CLIENT_STATES = ("up", "silent", "gone")
HOST_STATES = ("up", "silent", "maintenance", "gone", "dead")
GUEST_STATES = (
    "creating", "booting", "ready", "migrating", "draining", "removing", "stopping", "cleaning",
    "lost", "gone",
)  # fmt: skip

_C = ColumnSpec
_BUILTIN: dict[str, dict[str, ColumnSpec]] = {
    "client": _columns(
        _C("name", "str", "", "Name of the client."),
        _C("role", "str", "", "What the client runs on.", values=("dom0", "domU", "batch")),
        _C("state", "str", "", "Whether the Manager hears from it.", values=CLIENT_STATES),
    ),
    "host": _columns(
        _C("name", "str", "", "Name of the host."),
        _C("state", "str", "", "Whether the host can be used.", values=HOST_STATES),
        _C("memory_mib", "int", "MiB", "Memory for guests, in all."),
        _C("memory_free_mib", "int", "MiB", "Memory not promised to any guest."),
        _C("vcpus", "int", "", "Virtual CPUs for guests, in all."),
        _C("vcpus_free", "int", "", "Virtual CPUs not promised to any guest."),
        _C("guests", "int", "", "Guests that live on the host or are on their way."),
        _C("hypervisor", "str", "", "Name of the hypervisor."),
    ),
    "guest": _columns(
        _C("name", "str", "", "Name of the guest."),
        _C("share", "str", "", "The share it was made for."),
        _C("profile", "str", "", "What it was made from."),
        _C("host", "str", "", "The host it lives on."),
        _C("state", "str", "", "Where it stands in its life.", values=GUEST_STATES),
        _C("memory_mib", "int", "MiB", "Memory it is known to have."),
        _C("vcpus", "int", "", "vCPUs it is known to have."),
        _C("resizing", "bool", "", "Another size is under way."),
        _C("jobs", "int", "", "Jobs of the batch system that run in it."),
        _C("idle", "bool", "", "Ready, registered in the batch system, and without a job."),
        _C("node_state", "str", "", "The batch system's word for its node."),
    ),
    "share": _columns(
        _C("name", "str", "", "Name of the share."),
        _C("queue", "str", "", "Its queue (partition) in the batch system."),
        _C("profile", "str", "", "What its guests are made from."),
        _C("jobs_waiting", "int", "", "Jobs waiting in its queue."),
        _C("jobs_running", "int", "", "Jobs running from its queue."),
        _C("guests", "int", "", "Its living guests."),
        _C("guests_coming", "int", "", "Guests being created, or booting."),
        _C("guests_ready", "int", "", "Guests registered in the batch system."),
        _C("guests_idle", "int", "", "Ready guests without a job."),
        _C("guests_busy", "int", "", "Ready guests with a job."),
        _C("guests_leaving", "int", "", "Guests draining, stopping or being cleaned up."),
        _C("guests_wanted", "int", "", "Guests that waiting jobs need beyond idle and coming ones."),
        _C("guests_promised", "int", "", "Guests of other shares that leave to make room for this one."),
        _C("guaranteed", "int", "", "Guests it is entitled to."),
        _C("max_guests", "int", "", "Guests it may have at most."),
        _C("room", "int", "", "How many more guests of its profile fit now."),
        _C("reclaimable", "int", "", "Guests of other shares that may be asked to leave for it."),
        _C("failures", "int", "", "Failed creations since the last one that worked."),
        _C("can_grow", "bool", "", "Not in back-off, not given up, below max_guests."),
        _C("gave_up", "bool", "", "Creating guests failed so often that it needs an administrator."),
    ),
}

_P = Parameter
_OPERATIONS = (
    Operation(
        "send_get_property",
        rest="str",
        description="Ask all clients for the named properties; without names, for all.",
    ),
    Operation(
        "create_guest",
        (_P("share", "share"), _P("host", "host", required=False)),
        description="Create a guest of the share's profile, on the given host or where it fits best.",
    ),
    Operation(
        "make_room",
        (_P("share", "share"),),
        description="Retire an idle guest of another share, so that one of this share fits.",
    ),
    Operation(
        "retire_guest",
        (_P("guest", "guest"),),
        description="Drain the guest in the batch system; destroy it when its jobs have ended.",
    ),
    Operation(
        "destroy_guest",
        (_P("guest", "guest"), _P("even_if_busy", "bool", required=False)),
        description="Destroy the guest; refused while it has jobs, unless even_if_busy=True.",
    ),
    Operation(
        "migrate_guest",
        (_P("guest", "guest"), _P("host", "host"), _P("source", "host", required=False)),
        description="Move the running guest, jobs and all, to the host; with source, only from there.",
    ),
    Operation(
        "restart_guest",
        (_P("guest", "guest"), _P("host", "host", required=False), _P("source", "host", required=False)),
        description="Start the guest of a dead host anew, on the given host or where it fits best.",
    ),
    Operation(
        "resize_guest",
        (
            _P("guest", "guest"),
            _P("memory_mib", "int", required=False),
            _P("vcpus", "int", required=False),
            _P("cpu_weight", "float", required=False),
            _P("cpu_cap", "float", required=False),
            _P("host", "host", required=False),
            _P("even_if_busy", "bool", required=False),
        ),
        description="Give the running guest other memory, vCPUs, CPU weight or cap, as its profile allows.",
    ),
    Operation(
        "hold_host",
        (_P("host", "host"),),
        description="Start no guest on the host and move none to it; those there run on.",
    ),
    Operation(
        "drain_host",
        (_P("host", "host"),),
        description="Retire all guests of the host and start none on it.",
    ),
    Operation(
        "run",
        (_P("client", "client"), _P("command", "str")),
        keywords=True,
        description="Run a command plugin on a client, with the further named arguments.",
    ),
    Operation(
        "notify",
        (_P("text", "str"),),
        description="Tell the administrators.",
    ),
)


def default_schema() -> Schema:
    """The built-in names, without properties."""
    return Schema(_BUILTIN, {operation.name: operation for operation in _OPERATIONS})

"""All that decisions are made by: the configuration files of a `Started` event or a reload, compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from vmm.cluster.profiles import Entitlements, check_entitlements
from vmm.decide.catalogue import CATALOGUE, BadCatalogue, decode_catalogue
from vmm.decide.doubts import Commands, doubts
from vmm.ini import Finding, FindingsError
from vmm.rules import PropertySpec, RuleBook, Schema, check_properties, check_triggers, default_schema

FILES = ("properties.ini", "triggers.ini", "profiles.ini", "shares.ini")


@dataclass(frozen=True, slots=True)
class DecisionSettings:
    """The settings of `[manager]` that decisions depend on; they travel in the `Started` event."""

    boot_deadline_s: float = 120.0
    command_deadline_s: float = 60.0
    drain_deadline_s: float = 7 * 86400.0
    migration_deadline_s: float = 600.0
    resend_s: float = 5.0
    backoff_s: float = 10.0
    backoff_max_s: float = 600.0
    give_up_after: float = 5.0
    client_silent_s: float = 30.0
    shutdown_grace_s: float = 10.0
    promise_s: float = 60.0
    vcpus_per_cpu: float = 4.0
    shards: float = 8.0
    observe: float = 0.0

    @classmethod
    def from_mapping(cls, values: Mapping[str, float]) -> DecisionSettings:
        """Unknown names are ignored: an older program may replay a newer journal's start."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


@dataclass(frozen=True, slots=True)
class Rules:
    """The compiled configuration. `files` are the texts it was made from."""

    book: RuleBook
    properties: dict[str, PropertySpec]
    entitlements: Entitlements
    schema: Schema
    files: Mapping[str, str]


def check_rules(
    files: Mapping[str, str], folder: str = "", commands: Commands | None = None
) -> tuple[Rules | None, list[Finding]]:
    """Compile the four files (missing ones count as empty), with the catalogue of collectors beside them.

    Findings include warnings; None instead of rules when there are errors. `commands` are the command
    plugins with their arguments' names, for a look at `sender.run`; None leaves that out.
    """

    def path(name: str) -> str:
        return f"{folder}/{name}" if folder else name

    texts = {name: files.get(name, "") for name in FILES}
    try:
        collectors = decode_catalogue(files.get(CATALOGUE, ""))
    except BadCatalogue as exc:
        return None, [Finding(path(CATALOGUE), 1, f"{exc.message}.", exc.next_step)]
    properties, findings = check_properties(texts["properties.ini"], path("properties.ini"), collectors)
    schema = default_schema().with_properties(properties)
    book, found = check_triggers(texts["triggers.ini"], path("triggers.ini"), schema)
    findings += found
    entitlements, found = check_entitlements(
        texts["profiles.ini"], texts["shares.ini"], path("profiles.ini"), path("shares.ini")
    )
    findings += found
    if book is None or any(f.severity == "error" for f in findings):
        return None, findings
    if not book.rules:
        file = path("triggers.ini")
        what = "holds no rule" if "triggers.ini" in files else "is missing"
        findings.append(Finding(file, 1, f"{file} {what}: nothing will ever be done.", "", "warning"))
    findings += doubts(book, entitlements, properties, commands or {})
    kept = {**texts, CATALOGUE: files.get(CATALOGUE, "")}
    return Rules(book, properties, entitlements, schema, kept), findings


def compile_rules(files: Mapping[str, str]) -> Rules:
    """Raises FindingsError with all findings."""
    rules, findings = check_rules(files)
    if rules is None:
        raise FindingsError(findings)
    return rules

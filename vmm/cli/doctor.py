"""`vmm doctor`: what works on this machine and what does not, with the next step to take."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import click

from vmm.batch.factory import open_batch
from vmm.batch.swf import read_swf
from vmm.cluster.profiles import Profile, check_entitlements
from vmm.config import SETTINGS_FILE, Settings, load_settings
from vmm.errors import VmmError
from vmm.hypervisors.factory import open_hypervisor
from vmm.hypervisors.interface import GuestFailed
from vmm.hypervisors.kvm_probe import probe_kvm
from vmm.hypervisors.overlay import Overlays
from vmm.messages.bus import SpreadBus
from vmm.messages.keys import Signer, load_clients, load_public
from vmm.plugins.manager import load_plugins

ROLES = ("manager", "dom0", "batch")
LEAST_PYTHON = (3, 11)
_LEAST_FREE_MIB = 1024
_BUS_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table. `level`: ok, note (works, but look at it), fail, skip."""

    what: str
    level: str
    text: str
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What the checks look at."""

    settings: Settings
    kernel: Path | None
    boot: bool


Checker = Callable[[Patient], Iterator[Check]]


@click.command()
@click.option(
    "-c",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("etc"),
    show_default=True,
    help="The folder of the configuration.",
)
@click.option(
    "--role",
    "roles",
    type=click.Choice(ROLES),
    multiple=True,
    help="What this machine is for; repeatable. Without it everything is checked.",
)
@click.option(
    "--kernel",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A Linux kernel to boot under KVM; else one of the templates' or of /boot is taken.",
)
@click.option("--boot/--no-boot", default=True, help="Find out by booting whether KVM works.")
@click.pass_context
def doctor(
    context: click.Context, folder: Path, roles: tuple[str, ...], kernel: Path | None, boot: bool
) -> None:
    """Find out what works on this machine.

    Exit status: 0 when nothing stands in vmm's way, else 1.
    """
    failed = noted = 0
    for check in examine(folder, roles or ROLES, kernel, boot):
        failed += check.level == "fail"
        noted += check.level == "note"
        click.echo(f"{check.level:<5} {check.what:<11} {check.text}")
        if check.next_step:
            click.echo(f"{'':<17} -> {check.next_step}")
    verdict = "everything needed works" if not failed else f"{failed} thing(s) to mend"
    click.echo(f"\nverdict: {verdict}" + (f", {noted} to look at" if noted else ""))
    context.exit(1 if failed else 0)


def examine(folder: Path, roles: tuple[str, ...], kernel: Path | None, boot: bool) -> Iterator[Check]:
    """All checks for these roles. One that breaks down is a failed check, not the end."""
    settings, first = _settings(folder)
    yield from (_python(), _packages(), first)
    if settings is None:
        return
    patient = Patient(settings, kernel, boot)
    for name, wanted, checker in _CHECKS:
        if wanted and not set(wanted) & set(roles):
            continue
        try:
            yield from checker(patient)
        except VmmError as exc:
            yield Check(name, "fail", exc.message, exc.next_step)
        except OSError as exc:
            yield Check(name, "fail", str(exc), "see the rights of this user")


def _python() -> Check:
    version = platform.python_version()
    if tuple(map(int, platform.python_version_tuple()[:2])) < LEAST_PYTHON:
        return Check("python", "fail", f"{version} is too old", "install Python 3.11 or newer")
    return Check("python", "ok", f"{version} ({sys.executable})")


def _packages() -> Check:
    """The packages that vmm requires without extras."""
    try:
        needed = [text for text in metadata.requires("vmm") or [] if "extra ==" not in text]
    except metadata.PackageNotFoundError:
        return Check("packages", "fail", "vmm itself is not installed", "pip install . (or: make setup)")
    missing = []
    for text in needed:
        name = re.split(r"[\s<>=!~;\[]", text, maxsplit=1)[0]
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "fail", f"missing: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Check("packages", "ok", f"vmm {metadata.version('vmm')} and the {len(needed)} it needs")


def _settings(folder: Path) -> tuple[Settings | None, Check]:
    try:
        settings = load_settings(folder)
    except VmmError as exc:
        return None, Check("settings", "fail", exc.message, exc.next_step)
    path = folder / SETTINGS_FILE
    if not path.exists():
        return settings, Check("settings", "note", f"{path} is not there: defaults hold")
    return settings, Check("settings", "ok", str(path))


def _keys(patient: Patient) -> Iterator[Check]:
    folder = patient.settings.keys_folder
    load_public(folder / "manager.pub")
    text = f"{folder}: the Manager's public key"
    private = folder / "manager.key"
    if private.exists():
        Signer.load(private)
        text += " and private key"
        if private.stat().st_mode & 0o077:
            yield Check("keys", "fail", f"{private} can be read by others", f"chmod 600 {private}")
    yield Check("keys", "ok", f"{text}, {len(load_clients(folder))} clients'")


def _plugins(_patient: Patient) -> Iterator[Check]:
    found = load_plugins()
    from vmm.policies.hooks import objectives  # needs NumPy

    own = objectives(found)
    for problem in found.problems:
        yield Check("plugins", "note", problem, "correct or uninstall that package")
    yield Check(
        "plugins",
        "ok",
        f"{len(found.collectors)} collectors, {len(found.commands)} commands, {len(own)} objectives",
    )


def _daemon(patient: Patient) -> Iterator[Check]:
    daemon = patient.settings.bus.daemon
    SpreadBus(daemon, f"doc{os.getpid() % 10**6}", membership=False, timeout_s=_BUS_TIMEOUT_S).close()
    yield Check("daemon", "ok", f"the messaging daemon answers at {daemon}")


def _hypervisor(patient: Patient) -> Iterator[Check]:
    chosen = patient.settings.hypervisor
    if chosen.driver == "memory":
        yield Check("hypervisor", "skip", "driver = memory: there is nothing to connect to")
        return
    hypervisor = open_hypervisor(patient.settings, "")
    try:
        facts, guests = hypervisor.facts(), hypervisor.guests()
    finally:
        hypervisor.close()
    yield Check(
        "hypervisor",
        "ok",
        f"{chosen.uri}: {facts.memory_mib} MiB ({facts.reserved_mib} reserved), {facts.cpus} CPUs, "
        f"{len(guests)} guests, {sum(g.managed for g in guests)} of them vmm's",
    )
    orphans = set(Overlays(patient.settings.path(chosen.images)).names()) - {g.name for g in guests}
    if orphans:
        yield Check(
            "overlays",
            "note",
            f"disks of no guest here: {', '.join(sorted(orphans))}",
            "another host's when the folder is shared; else remove them from overlays/",
        )


def _images(patient: Patient) -> Iterator[Check]:
    chosen = patient.settings.hypervisor
    if chosen.driver == "memory":
        return
    try:
        done = subprocess.run(
            ["qemu-img", "--version"], capture_output=True, text=True, timeout=10, check=True
        )
        yield Check("qemu-img", "ok", done.stdout.splitlines()[0])
    except (OSError, subprocess.SubprocessError):
        yield Check("qemu-img", "fail", "it cannot be run", "apt-get install qemu-utils")
    folder = patient.settings.path(chosen.images)
    if not folder.is_dir():
        yield Check("images", "fail", f"{folder} is not there", "make it, or set `images` in [hypervisor]")
        return
    room = os.statvfs(folder)
    free_mib = room.f_bavail * room.f_frsize >> 20
    if not os.access(folder, os.W_OK):
        yield Check(
            "images", "fail", f"{folder} cannot be written", "run as root, or give this user the right"
        )
    elif free_mib < _LEAST_FREE_MIB:
        yield Check("images", "note", f"{folder}: only {free_mib} MiB free", "guests' disks grow: make room")
    else:
        yield Check("images", "ok", f"{folder}: {free_mib} MiB free")
    consoles = patient.settings.path(chosen.consoles)
    nearest = next(parent for parent in (consoles, *consoles.parents) if parent.exists())
    if not os.access(nearest, os.W_OK):
        yield Check("consoles", "fail", f"{consoles} cannot be written", "set `consoles` in [hypervisor]")
    yield from _templates(patient, Overlays(folder))


def _templates(patient: Patient, overlays: Overlays) -> Iterator[Check]:
    profiles = _profiles(patient.settings)
    if not profiles:
        yield Check(
            "templates", "note", "profiles.ini names no profile", "see docs/how-to/make-a-template.md"
        )
    for profile in profiles:
        try:
            for what in ("template", "kernel", "initrd"):
                if relative := getattr(profile, what):
                    overlays.boot_file(relative, profile.name, what)
        except GuestFailed as exc:
            yield Check("templates", "fail", f"profile {profile.name}: {exc.message}", exc.next_step)
        else:
            yield Check("templates", "ok", f"profile {profile.name}: {profile.template}")


def _profiles(settings: Settings) -> list[Profile]:
    """As far as they can be read: what is wrong with them is the business of `vmm rules check`."""

    def text(name: str) -> str:
        path = settings.folder / name
        return path.read_text(encoding="utf-8") if path.exists() else ""

    entitlements, _ = check_entitlements(
        text("profiles.ini"), text("shares.ini"), "profiles.ini", "shares.ini"
    )
    return list(entitlements.profiles.values())


def _batch(patient: Patient) -> Iterator[Check]:
    chosen = patient.settings.batch
    if chosen.driver == "memory":
        works = read_swf(patient.settings.path(chosen.workload)) if chosen.workload else []
        yield Check("batch", "ok", f"in memory, with a workload of {len(works)} jobs")
        return
    batch = open_batch(patient.settings)
    if batch is None:
        yield Check("batch", "skip", "driver = none")
        return
    nodes, jobs = batch.nodes(), batch.jobs()
    yield Check("batch", "ok", f"{chosen.driver} answers: {len(nodes)} nodes, {len(jobs)} jobs")


def _kvm(patient: Patient) -> Iterator[Check]:
    wanted = patient.settings.hypervisor.domain_type
    if patient.settings.hypervisor.driver == "memory" or wanted == "xen":
        return
    if not patient.boot:
        yield Check("kvm", "skip", "--no-boot: whether KVM works is found out by booting only")
        return
    kernel = patient.kernel or _find_kernel(patient.settings)
    verdict = probe_kvm(kernel)
    for boot in verdict.boots:
        yield Check("kvm", "ok" if boot.ok else "note", f"booted {boot}")
    word = "works" if verdict.usable else "does not work"
    text = f"KVM {word}: {verdict.reason}" + ("" if verdict.proven else " (not proven)")
    if wanted == "kvm" and not verdict.usable:
        yield Check(
            "kvm", "fail", text, "set domain_type = qemu in [hypervisor] of vmm.ini (slower, but works)"
        )
    elif wanted == "kvm" and not verdict.proven:
        yield Check("kvm", "note", text, "name a kernel with --kernel to be sure")
    elif verdict.usable:
        level, hint = ("ok", "") if wanted == "kvm" else ("note", "domain_type = kvm would be faster")
        yield Check("kvm", level, text, hint)
    else:
        yield Check("kvm", "ok", f"{text}; domain_type = {wanted} does not need it")


def _find_kernel(settings: Settings) -> Path | None:
    """A kernel to boot: a profile's, one among the images, the newest of /boot."""
    images = settings.path(settings.hypervisor.images)
    named = [images / profile.kernel for profile in _profiles(settings) if profile.kernel]
    found = [
        *named,
        *sorted(images.glob("**/vmlinuz*")),
        *sorted(Path("/boot").glob("vmlinuz*"), reverse=True),
    ]
    return next((path for path in found if path.is_file() and os.access(path, os.R_OK)), None)


_CHECKS: tuple[tuple[str, tuple[str, ...], Checker], ...] = (
    ("keys", (), _keys),
    ("plugins", (), _plugins),
    ("daemon", (), _daemon),
    ("hypervisor", ("dom0",), _hypervisor),
    ("images", ("dom0",), _images),
    ("kvm", ("dom0",), _kvm),
    ("batch", ("batch",), _batch),
)

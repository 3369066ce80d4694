"""`vmm rules`: check, lay out and test the rule files, before they act."""

from __future__ import annotations

import difflib
import os
import stat
from pathlib import Path

import click

from vmm.cli import _beside as beside
from vmm.cli.exits import FAILED, FINDINGS
from vmm.cli.plan_live import POLICIES_FILE
from vmm.decide.catalogue import CATALOGUE, encode_catalogue
from vmm.decide.rulebook import FILES, check_rules
from vmm.errors import ConfigError
from vmm.ini import Finding, FindingsError, parse_ini, read_text
from vmm.plugins.manager import PluginSet, arguments_of, load_plugins
from vmm.rules import RuleBook, check_properties, check_triggers, default_schema
from vmm.rules.layout import format_ini
from vmm.rules.trial import read_trials, run_trial


@click.group()
def rules() -> None:
    """Check, test, explain and reload rules."""


@rules.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@beside.config
@click.option("-q", "--quiet", is_flag=True, help="Print findings only.")
def check(folder: Path | None, etc: Path, quiet: bool) -> None:
    """Check the rule files in FOLDER (or that of the configuration).

    Finds everything that can be known without running them. FOLDER/policies.ini is checked too.

    Exit status 0 when there is nothing to say, 3 when there are findings (warnings count).
    """
    folder = folder or etc
    texts = {name: _read(folder / name) for name in FILES}
    texts = {name: text for name, text in texts.items() if text or (folder / name).exists()}
    plugins = load_plugins()
    for problem in plugins.problems:
        click.echo(problem, err=True)
    texts[CATALOGUE] = encode_catalogue(plugins.collectors)
    checked, findings = check_rules(texts, str(folder), arguments_of(plugins.commands))
    findings += _policy_findings(folder, plugins)
    _say(findings)
    if findings:
        raise click.exceptions.Exit(FINDINGS)
    if not quiet and checked is not None:
        shares = checked.entitlements.shares
        click.echo(
            f"{folder}: {len(checked.book.rules)} rules, {len(checked.properties)} properties, "
            f"{len(checked.entitlements.profiles)} profiles, {len(shares)} shares: nothing to complain about"
        )


@rules.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 3 if a file would change.")
@click.option("--diff", "show_diff", is_flag=True, help="Write nothing; print the changes.")
def fmt(files: tuple[Path, ...], only_check: bool, show_diff: bool) -> None:
    """Lay FILES out evenly. Comments, order and meaning stay.

    A file with errors stays as it is: exit status 3.
    """
    changed = wrong = 0
    for path in files:
        before = _read(path, required=True)
        errors = [f for f in parse_ini(before, str(path))[1] if f.severity == "error"]
        if errors:
            _say(errors)
            wrong += 1
            continue
        after = format_ini(before)
        if after == before:
            continue
        changed += 1
        if show_diff:
            lines = difflib.unified_diff(
                before.splitlines(), after.splitlines(), str(path), str(path), lineterm=""
            )
            click.echo("\n".join(lines))
        elif only_check:
            click.echo(f"{path}: would change")
        else:
            _write(path, after)
            click.echo(f"{path}: laid out")
    if wrong or (only_check and changed):
        raise click.exceptions.Exit(FINDINGS)


@rules.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-c", "--config", "folder", default="etc", show_default=True, type=click.Path(path_type=Path),
    help="Where the tested rules are.",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Name the tests that pass, too.")
def test(files: tuple[Path, ...], folder: Path, verbose: bool) -> None:
    """Run the rule tests in FILES.

    Exit status: 0 all passed, 1 one failed, 3 a file cannot be read as tests.
    """
    book, findings = _load_book(folder)
    if book is None:
        _say(findings)
        raise click.exceptions.Exit(FINDINGS)
    passed = failed = 0
    for path in files:
        trials, found = read_trials(_read(path, required=True), str(path), book)
        _say(found)
        if found:
            raise click.exceptions.Exit(FINDINGS)
        for trial in trials:
            failures = run_trial(trial, book)
            for failure in failures:
                click.echo(f"FAILED [{trial.name}] {failure}")
            if not failures and verbose:
                click.echo(f"passed [{trial.name}]")
            passed, failed = passed + (not failures), failed + bool(failures)
    click.echo(f"{passed} passed, {failed} failed")
    if failed:
        raise click.exceptions.Exit(FAILED)


def _load_book(folder: Path) -> tuple[RuleBook | None, list[Finding]]:
    """The rules of a folder; profiles and shares are not needed to test them."""
    collectors = load_plugins().collectors
    path = folder / "properties.ini"
    properties, findings = check_properties(_read(path), str(path), collectors)
    path = folder / "triggers.ini"
    schema = default_schema().with_properties(properties)
    book, found = check_triggers(_read(path, required=True), str(path), schema)
    if any(f.severity == "error" for f in findings):
        return None, findings + found
    return book, findings + found


def _policy_findings(folder: Path, plugins: PluginSet) -> list[Finding]:
    """What is wrong with FOLDER's policies.ini, if there is one."""
    text = _read(folder / POLICIES_FILE)
    if not text:
        return []
    from vmm.policies.config import parse_policies  # these two need NumPy
    from vmm.policies.hooks import objectives

    known = len(plugins.problems)
    extra = objectives(plugins)
    for problem in plugins.problems[known:]:
        click.echo(problem, err=True)
    try:
        parse_policies(text, str(folder / POLICIES_FILE), tuple(extra.values()))
    except FindingsError as exc:
        return exc.findings
    return []


def _say(findings: list[Finding]) -> None:
    for finding in findings:
        click.echo(str(finding))


def _read(path: Path, required: bool = False) -> str:
    """Text of a file; a missing one is empty unless it is required. Raises ConfigError."""
    if not required and path.parent.is_dir() and not path.exists():
        return ""
    return read_text(path)


def _write(path: Path, text: str) -> None:
    """Replace the file in one step, so that nobody reads half of it; links, owner and mode stay."""
    path = path.resolve()
    part = path.with_name(path.name + ".part")
    try:
        before = path.stat()
        part.write_text(text, encoding="utf-8")
        try:
            os.chown(part, before.st_uid, before.st_gid)
        except PermissionError:  # only root gives files away: keep the file and change what is in it
            part.unlink()
            path.write_text(text, encoding="utf-8")
            return
        part.chmod(stat.S_IMODE(before.st_mode))
        part.replace(path)
    except OSError as exc:
        part.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {exc}.", next_step="check space and rights") from exc

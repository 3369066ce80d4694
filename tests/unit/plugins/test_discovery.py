"""Which plugins are found, and what becomes of those that are broken."""

from __future__ import annotations

import configparser
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmm.plugins.hookspecs import ROLES, Collector, CommandPlugin, Context, hookimpl
from vmm.plugins.manager import BUILTIN, PluginSet, load_plugins
from vmm.plugins.run import PluginRunner

DOCS = Path(__file__).parents[3] / "docs"
BLINK = "CommandPlugin blink"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs a distribution with one module and one entry point into a folder on sys.path."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)

    def install(module: str, code: str, entry: str = "", value: str = "") -> None:
        (folder / f"{module}.py").write_text(code)
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[vmm]\n{entry or module} = {value or module}\n")

    yield install
    for name in set(sys.modules) - before:
        del sys.modules[name]


def extra(**hooks: Callable[[], Any]) -> object:
    """A plugin object with these hooks."""
    return SimpleNamespace(__name__="extra", **{name: hookimpl(hook) for name, hook in hooks.items()})


def collector(name: str = "mine", **changes: Any) -> Collector:
    fields: dict[str, Any] = {"name": name, "read": lambda _c, _p: 1, "returns": int, **changes}
    return Collector(**fields)


def test_the_built_in_ones_have_no_problems() -> None:
    found = load_plugins()
    assert found.problems == []
    assert {"ram", "load", "cpu", "disk", "net_rx", "uptime", "guests", "batch_jobs"} <= set(found.collectors)
    assert set(found.commands) == {
        "create_guest",
        "destroy_guest",
        "migrate_guest",
        "resize_guest",
        "start_guest",
        "shutdown_guest",
        "console_tail",
        "drain_node",
        "resume_node",
        "delete_node",
    }
    assert set(found.origins.values()) == set(BUILTIN)
    for item in (*found.collectors.values(), *found.commands.values()):
        assert item.description


def test_each_role_gets_its_own() -> None:
    by_role = {role: load_plugins().for_role(role) for role in ROLES}
    assert "create_guest" in by_role["dom0"].commands
    assert "create_guest" not in by_role["batch"].commands
    assert "drain_node" in by_role["batch"].commands
    assert by_role["domU"].commands == {}
    assert all("ram" in found.collectors for found in by_role.values())


def documented(language: str) -> str:
    """The first block of that language in the how-to."""
    text = (DOCS / "how-to/write-a-plugin.md").read_text(encoding="utf-8")
    return text.split(f"```{language}\n", 1)[1].split("```", 1)[0]


def make_wheel(folder: Path) -> Path:
    """What a build of the how-to's example would give; made by hand because that needs no build tools."""
    parser = configparser.ConfigParser()
    parser.read_string(documented("ini"))
    info = "acme_vmm-1.0.dist-info"
    files = {
        "acme_vmm.py": documented("python"),
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: acme-vmm\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[vmm]{parser['options.entry_points']['vmm']}\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    path = folder / "acme_vmm-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return path


def test_an_installed_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the how-to, installed for real, by pip, into a folder of its own."""
    target = tmp_path / "target"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", target]
    done = subprocess.run([*command, make_wheel(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    monkeypatch.syspath_prepend(str(target))
    found = load_plugins()
    monkeypatch.delitem(sys.modules, "acme_vmm")
    assert found.problems == []
    assert found.origins[BLINK] == "acme"
    runner, context = PluginRunner(), Context("host1", "dom0")
    assert runner.collect(found.collectors["temperature"], context, "rack2").value == 24.0
    wrong = runner.collect(found.collectors["temperature"], context, "rack9")
    assert (wrong.code, wrong.next_step) == ("command", "known: rack1, rack2")
    assert runner.execute(found.commands["blink"], context, {"light": "red"}).value == "red red red"


GOOD = """
from vmm.plugins.hookspecs import Collector, hookimpl

@hookimpl
def vmm_collectors():
    return [Collector("good", lambda context, parameters: 1, int)]
"""


@pytest.mark.parametrize(
    ("code", "value", "words"),
    [
        ("import no_such_module_of_mine", "", "ModuleNotFoundError"),
        ("1 / 0", "", "ZeroDivisionError"),
        ("raise SystemExit(3)", "", "SystemExit"),
        ("def (", "", "SyntaxError"),
        ("x = 1", "bad:missing", "AttributeError"),
        ("x = 1", "", "has none of vmm_collectors, vmm_commands and vmm_objectives"),
        ("def vmm_collectors(): return []", "", "marked with @hookimpl"),
        (
            "from vmm.plugins.hookspecs import hookimpl\n@hookimpl\ndef vmm_collectors(wrong): return []",
            "",
            "cannot be registered",
        ),
        (
            "from vmm.plugins.hookspecs import hookimpl\n@hookimpl\ndef vmm_collectors(): 1 / 0",
            "",
            "vmm_collectors() raised ZeroDivisionError",
        ),
        (
            "from vmm.plugins.hookspecs import hookimpl\n@hookimpl\ndef vmm_commands(): return 5",
            "",
            "vmm_commands() raised TypeError",
        ),
    ],
)
def test_a_broken_package_is_named_and_harms_nothing(
    site: Callable[..., None], code: str, value: str, words: str
) -> None:
    site("bad", code, "bad", value)
    site("good", GOOD)
    found = load_plugins()
    assert "good" in found.collectors
    assert "ram" in found.collectors
    (problem,) = found.problems
    assert problem.startswith("plugin bad")
    assert words in problem


def test_two_of_one_name(site: Callable[..., None]) -> None:
    site("first", GOOD)
    site("second", GOOD)
    site("third", GOOD.replace('"good"', '"ram"'))
    found = load_plugins()
    assert found.origins["Collector good"] == "first"
    assert found.origins["Collector ram"] == "vmm.plugins.properties.memory"
    assert [problem.split(":")[0] for problem in found.problems] == ["plugin second", "plugin third"]
    assert all("already there from plugin" in problem for problem in found.problems)


def test_one_entry_point_name_twice(site: Callable[..., None]) -> None:
    site("one", GOOD, entry="same")
    site("two", GOOD.replace('"good"', '"better"'), entry="same")
    found = load_plugins()
    assert "good" in found.collectors
    (problem,) = found.problems
    assert problem.startswith("plugin same: cannot be registered")


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("no collector", "is not a Collector"),
        (collector("two words"), "not a word"),
        (collector(""), "not a word"),
        (collector(5), "not a word"),  # type: ignore[arg-type]
        (collector(returns=set), "returns"),
        (collector(timeout_s=0), "timeout_s"),
        (collector(timeout_s=float("nan")), "timeout_s"),
        (collector(roles=("dom1",)), "roles"),
        (collector(roles=()), "roles"),
        (collector(read="ls"), "not callable"),
    ],
)
def test_a_malformed_collector_is_left_out(item: Any, words: str) -> None:
    found = load_plugins([extra(vmm_collectors=lambda: [item, collector("fine")])])
    assert "fine" in found.collectors
    (problem,) = found.problems
    assert problem.startswith("plugin extra")
    assert words in problem


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"args": ["a"]}, "args"), ({"args": {"a": "int"}}, "args"), ({"run": None}, "not callable")],
)
def test_a_malformed_command_is_left_out(changes: dict[str, Any], words: str) -> None:
    fields: dict[str, Any] = {"name": "x", "run": print, "args": {}, "roles": ("dom0",), **changes}
    found = load_plugins([extra(vmm_commands=lambda: [CommandPlugin(**fields)])])
    assert "x" not in found.commands
    assert words in found.problems[0]


def test_an_empty_set() -> None:
    assert PluginSet().for_role("dom0").collectors == {}


def test_our_own_entry_points_are_not_plugins() -> None:
    assert [e.name for e in metadata.entry_points(group="vmm")] == []


def test_the_reference_names_all_of_them() -> None:
    text = (DOCS / "reference/plugins.md").read_text(encoding="utf-8")
    found = load_plugins()
    for name, item in found.collectors.items():
        assert f"| `{name}` | {item.returns.__name__} | {item.unit} |" in text
        assert item.description in text
    for name, command in found.commands.items():
        args = ", ".join(f"{arg}: {kind.__name__}" for arg, kind in command.args.items())
        assert f"| `{name}` | `{args}` | {', '.join(command.roles)} | {command.timeout_s:g} s |" in text
    for name in ("guests", "net", "batch_jobs", "batch_nodes", "batch_stats", "host_facts"):
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` | `"))
        assert [w for w in row.split("`")[3::2] if w in found.collectors[name].columns] == list(
            found.collectors[name].columns
        )

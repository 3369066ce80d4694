"""The shipped rules check without a finding and pass their own unit tests."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from vmm.cli.main import vmm

ROOT = Path(__file__).parents[3]


def test_the_shipped_rules_have_no_finding() -> None:
    done = CliRunner().invoke(vmm, ["rules", "check", str(ROOT / "etc")])
    assert done.exit_code == 0, done.output
    assert "warning" not in done.output


def test_the_shipped_rules_pass_their_tests() -> None:
    tests = ROOT / "tests" / "rules" / "shipped.ini"
    done = CliRunner().invoke(vmm, ["rules", "test", "-c", str(ROOT / "etc"), str(tests)])
    assert done.exit_code == 0, done.output
    assert f"{tests.read_text().count('expect =')} passed" in done.output


def test_a_wrong_expectation_fails_with_the_explanation(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.ini"
    text = (ROOT / "tests" / "rules" / "shipped.ini").read_text()
    wrong.write_text(text.replace("510s  shrink", "500s  shrink"))
    done = CliRunner().invoke(vmm, ["rules", "test", "-c", str(ROOT / "etc"), str(wrong)])
    assert done.exit_code == 1
    assert "guest.idle" in done.output

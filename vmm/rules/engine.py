"""Evaluates a rule book over a world: what has changed, and what is due, once per step.

Pure: the same calls on equal worlds give the same firings, transitions and state. No clock is read;
`world.now_s` is the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any

from vmm.cluster.tables import World
from vmm.ini import suggest
from vmm.rules.compiler import Compiler
from vmm.rules.errors import RuleError
from vmm.rules.explain import Explanation
from vmm.rules.programs import Program
from vmm.rules.results import Firing, Transition
from vmm.rules.rule import Diff, Rule, RuleBook, diff
from vmm.rules.runner import Runner
from vmm.rules.saved import dump_runner, load_runner
from vmm.rules.timers import Timers
from vmm.rules.verdict import explain_runner
from vmm.rules.watches import Subscriptions, reads_of

_SCHEMA = 1
MAX_TRANSITIONS = 10_000


class Engine:
    """Rules at work on one world. One thread at a time may use engine and world.

    `state` is what `dump_state` gave; rules whose content changed since start anew.
    """

    def __init__(self, book: RuleBook, world: World, state: Mapping[str, Any] | None = None) -> None:
        self.book = book
        self.world = world
        self.dropped_transitions = 0
        self._paused: dict[str, str] = {}
        self._transitions: list[Transition] = []
        self._build(state)

    # -- building -----------------------------------------------------------------------------------

    def _build(self, state: Mapping[str, Any] | None) -> None:
        self._runners: list[Runner] = []
        self._by_name: dict[str, Runner] = {}
        self._queue: set[int] = set()
        self.timers = Timers()
        self._stale = False
        self._subscriptions = Subscriptions(self.world, self.book.schema, self._redeclared)
        compiler = self._compiler = Compiler(self.world, self._subscriptions)
        for order, rule in enumerate(self.book.ordered()):
            runner = Runner(rule, order, self.world, compiler.watch, partial(self._queue.add, order))
            self._runners.append(runner)
            self._by_name[rule.name] = runner
            if rule.enabled:
                self._follow_members(runner)
                self._follow_updates(runner)
        compiler.finish()
        self.world.gap_hooks.append(self._bridge)
        self._restore({} if state is None else self._checked(state))

    def _restore(self, saved: Mapping[str, Any]) -> None:
        """Give kept rules their memory back; start the timers of all."""
        for runner in self._runners:
            rule = runner.rule
            if not rule.enabled:
                continue
            entry = saved.get(rule.name)
            if entry is not None and entry["hash"] == rule.content_hash:
                load_runner(runner, entry)
            elif rule.ticks_s is not None:
                runner.next_tick_s = self.world.now_s + rule.ticks_s
            self.timers.add(runner)
            self._queue.add(runner.order)

    def _checked(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        if state.get("schema") != _SCHEMA:
            raise RuleError(
                f"the rules' state has schema {state.get('schema')!r}, this program reads {_SCHEMA}.",
                next_step="start from a snapshot of this version, or from the journal's beginning",
            )
        self._paused = dict(state["paused"])
        rules: Mapping[str, Any] = state["rules"]
        return rules

    def _bridge(self, gap_s: float) -> None:
        for runner in self._runners:
            if runner.rule.for_s:
                runner.bridge(gap_s)

    def _redeclared(self) -> None:
        self._stale = True

    def _follow_members(self, runner: Runner) -> None:
        rule = runner.rule
        if rule.each is None:
            return

        def added(row: int, _name: str) -> None:
            for watch in (runner.expr, runner.until, runner.arguments):
                if watch is not None:
                    watch.mark(row)

        def removed(row: int, _name: str) -> None:
            runner.drop(row, self.world.now_s, self._transitions)
            for watch in (runner.expr, runner.until, runner.arguments):
                if watch is not None:
                    watch.changed.discard(row)

        self._subscriptions.on_members(rule.each, added, removed)

    def _follow_updates(self, runner: Runner) -> None:
        """`n_of` without ticks counts every report, also of the same value."""
        if not runner.samples_updates:
            return
        rule = runner.rule
        reads = reads_of(rule.expr, rule.each)
        for column in sorted(reads.own):
            self._subscriptions.on_column(str(rule.each), column, runner.touch, touch=True)
        for kind, column in sorted(reads.columns):
            self._subscriptions.on_column(kind, column, runner.touch_all, touch=True)

    # -- running ------------------------------------------------------------------------------------

    def step(self) -> list[Firing]:
        """Evaluate everything that has changed and every timer that is due at `world.now_s`.

        Firings come by priority, then file order, then the subjects' order of arrival.
        """
        if self._stale:
            self._rebuild()
        queue = self._queue
        if self.timers.first_s > self.world.now_s:
            # Most updates change no rule's truth: find that out with as little ado as possible.
            if len(queue) == 1:
                (order,) = queue
                if self._runners[order].unchanged():
                    queue.clear()
            if not queue:
                return []
        return self._step(self.world.now_s)

    def _step(self, now_s: float) -> list[Firing]:
        ticks, woken = self.timers.due(now_s)
        queue = sorted(self._queue.union(ticks, woken))
        self._queue.clear()
        firings: list[Firing] = []
        everything = self._paused.get("", "")
        for order in queue:
            runner = self._runners[order]
            if order not in ticks and order not in woken and runner.unchanged():
                continue
            paused = everything or self._paused.get(runner.rule.name, "")
            rows = woken.get(order, ())
            firings += runner.run(now_s, order in ticks, rows, paused, self._transitions)
            self.timers.wake(runner, runner.examined)
        self._trim()
        return firings

    def next_due_s(self) -> float | None:
        """When `step` has something to do without any update: at once if something changed, else a timer."""
        if self.restless:
            return self.world.now_s
        due_s = self.timers.next_s()
        return None if due_s == inf else due_s

    @property
    def restless(self) -> bool:
        """Whether `step` has something to look at, whatever the time."""
        return bool(self._queue) or self._stale

    @property
    def runners(self) -> Sequence[Runner]:
        """The rules at work, for those who follow them in bulk (quiet.py)."""
        return self._runners

    @property
    def programs(self) -> Iterable[Program]:
        return self._compiler.programs

    @property
    def built(self) -> object:
        """Another object each time the rules were compiled anew."""
        return self._compiler

    def _trim(self) -> None:
        excess = len(self._transitions) - MAX_TRANSITIONS
        if excess > 0:
            del self._transitions[:excess]
            self.dropped_transitions += excess

    # -- steering -----------------------------------------------------------------------------------

    def set_running(self, rule: str, subject: str | None, n: int) -> None:
        """Say how many commands of the rule are under way for the subject; for `mode` and `max_running`.

        Rules and subjects that are gone are passed over: their commands may end later than they.
        """
        runner = self._by_name.get(rule)
        row = None if runner is None else runner.row(subject)
        if runner is None or row is None:
            return
        runner.set_running(row, n)

    def pause(self, rule: str | None = None, reason: str = "paused") -> None:
        """Let the rule (or all) fire no more; evaluation and timers go on. Raises RuleError."""
        self._paused["" if rule is None else self._runner(rule).rule.name] = reason or "paused"

    def resume(self, rule: str | None = None) -> None:
        """Undo `pause` of the same rule (or of all). What has become true meanwhile fires if it still is.

        A pause outlives the rule: it waits for one of the same name, and may be undone without it.
        """
        if self._paused.pop(rule or "", None) is None and rule is not None:
            self._runner(rule)
        for runner in self._runners:
            if rule is None or runner.rule.name == rule:
                runner.recheck.update(row for row, i in runner.instances.items() if i.armed or i.queued)
                self._queue.add(runner.order)

    @property
    def paused(self) -> dict[str, str]:
        """Rule -> reason; the empty name stands for all rules."""
        return dict(self._paused)

    def _runner(self, rule: str) -> Runner:
        runner = self._by_name.get(rule)
        if runner is None:
            raise RuleError(f"there is no rule {rule!r}.", next_step=suggest(rule, self._by_name))
        return runner

    def rule(self, name: str) -> Rule:
        """Raises RuleError when there is none of the name."""
        return self._runner(name).rule

    def transitions(self) -> list[Transition]:
        """State changes since the last call, oldest first; at most MAX_TRANSITIONS are kept."""
        out, self._transitions = self._transitions, []
        return out

    def explain(self, rule: str, subject: str | None = None) -> Explanation:
        """Why the rule fires or not, for one subject where it has `each`. Raises RuleError.

        It reads the world as it is now; call it after `step`.
        """
        runner = self._runner(rule)
        paused = self._paused.get("") or self._paused.get(rule, "")
        return explain_runner(runner, subject, self.world, paused)

    # -- keeping ------------------------------------------------------------------------------------

    def dump_state(self) -> dict[str, Any]:
        """Timers, latches, counts, pauses: builtins only, the same for the same history."""
        return {
            "schema": _SCHEMA,
            "paused": dict(sorted(self._paused.items())),
            "rules": {
                runner.rule.name: dump_runner(runner)
                for runner in sorted(self._runners, key=lambda r: r.rule.name)
                if runner.rule.enabled
            },
        }

    def reload(self, book: RuleBook) -> Diff:
        """Take over new rules; those with the same content keep their timers, changed ones start anew."""
        changes = diff(self.book, book)
        state = self.dump_state()
        self.close()
        self.book = book
        self._build(state)
        return changes

    def _rebuild(self) -> None:
        state = self.dump_state()
        self.close()
        self._build(state)

    def close(self) -> None:
        """Take the engine's hooks out of the world's tables."""
        self._subscriptions.close()
        self.world.gap_hooks.remove(self._bridge)

"""One rule at work: takes up changed rows, keeps the instances, decides what fires."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from vmm.cluster.tables import World
from vmm.rules import nodes as n
from vmm.rules.gates import (
    IDLE,
    MAX_QUEUED,
    Around,
    Gate,
    Instance,
    blocked_until,
    enters,
    gates,
    leaves_queue,
    note_firing,
    settle,
)
from vmm.rules.interpret import Interpreter
from vmm.rules.results import Call, Firing, Transition
from vmm.rules.rule import Rule
from vmm.rules.triggers import reads_time
from vmm.rules.watches import GLOBAL_ROW, Watch
from vmm.rules.why import reason

Watching = Callable[[n.Node, str | None, Callable[[], None]], Watch]


class Runner:
    """`seen` is each row's truth as last taken in, `turns` how often one has become another, `looks` how
    often instances were looked at, `recheck` rows to look at whatever their truth. `awake` are the rows for
    which `until` and the arguments of commands matter: of others nothing comes of them.

    `enqueue` tells the engine that there is something to do.
    """

    def __init__(
        self, rule: Rule, order: int, world: World, watching: Watching, enqueue: Callable[[], None]
    ) -> None:
        self.rule = rule
        self.order = order
        self.enqueue = enqueue
        self.next_tick_s: float | None = None
        self.instances: dict[int, Instance] = {}
        self.seen: dict[int, bool | None] = {}
        self.turns = self.looks = 0
        self.awake: set[int] = set()
        self.recheck: set[int] = set()
        self.samples: set[int] = set()
        self.examined: Iterable[int] = ()
        self._started = 0
        self.world = world
        self.table = world.table(rule.each) if rule.each else None
        notify = enqueue if rule.on_update_check else _nothing
        self.expr = watching(rule.expr, rule.each, notify)
        self.until = None if rule.until is None else watching(rule.until, rule.each, notify)
        needed = _argument_check(rule)
        self.arguments = None if needed is None else watching(needed, rule.each, notify)
        self.timed = reads_time(rule.expr) or reads_time(rule.until)
        self._interpreter = Interpreter(world)
        self.unchanged = self._quick_look()

    def _quick_look(self) -> Callable[[], bool]:
        """A function that says whether an update changed nothing as far as this rule is concerned."""
        rule, expr, seen, recheck = self.rule, self.expr, self.seen, self.recheck
        if not rule.enabled:
            return lambda: True
        alone = self.until is None and self.arguments is None and rule.each is None
        if not (alone and rule.n_of is None and rule.on_update_check):
            return lambda: False
        truth, settled = expr.truth, expr.settled

        def unchanged() -> bool:
            if recheck:
                return False
            if truth(GLOBAL_ROW) is not seen.get(GLOBAL_ROW, False):
                return False
            expr.every = False
            if settled is not None:
                settled.settle()
            return True

        return unchanged

    @property
    def samples_updates(self) -> bool:
        """Whether `n_of` counts each update, having no ticks to count."""
        return self.rule.n_of is not None and self.rule.ticks_s is None

    def ticks_idly(self) -> bool:
        """Whether its next tick finds nothing to do unless its condition's truth changes before."""
        rule = self.rule
        return rule.on_update_check and not (self.timed or rule.n_of or self.awake or self.recheck)

    def subject(self, row: int) -> str | None:
        return None if self.table is None else self.table.row_names[row]

    def row(self, subject: str | None) -> int | None:
        """The row of a subject that exists."""
        if self.table is None:
            return GLOBAL_ROW
        return self.table.rows.get(subject or "")

    def touch(self, row: int) -> None:
        """Something that the condition reads of this row was reported again."""
        self.samples.add(row)
        self.enqueue()

    def touch_all(self, _row: int = 0) -> None:
        self.samples.update(self.expr.rows())
        self.enqueue()

    def drop(self, row: int, now_s: float, transitions: list[Transition]) -> None:
        """The subject goes: forget it."""
        instance = self.instances.pop(row, None)
        self.looks += 1
        if instance is not None and instance.state != IDLE:
            transitions.append(Transition(self.rule.name, self.subject(row), instance.state, "gone", now_s))
        self.seen.pop(row, None)
        self.awake.discard(row)
        self.recheck.discard(row)
        self.samples.discard(row)

    def remember(self, row: int, instance: Instance) -> None:
        """Put an instance back, as a dump had it."""
        self.instances[row] = instance
        self.seen[row] = None if instance.unknown else instance.truth
        if instance.is_awake:
            self.awake.add(row)

    def bridge(self, gap_s: float) -> None:
        """Nobody looked for so long: whether the condition held meanwhile is not known, so `for` goes on."""
        for row, instance in self.instances.items():
            if instance.since_s is not None and not instance.unknown:
                instance.since_s += gap_s
                self.recheck.add(row)
        if self.recheck:
            self.enqueue()

    def set_running(self, row: int, n: int) -> None:
        """So many commands of the rule are under way for the row; fewer than before may open a gate."""
        instance = self.instances.get(row)
        if instance is None:
            if n <= 0:
                return
            instance = self.instances[row] = Instance()
        self.looks += 1
        fewer = n < instance.running
        instance.running = max(n, 0)
        if fewer:
            waiting = {r for r, i in self.instances.items() if i.armed or i.queued}
            self.recheck |= waiting if self.rule.max_running is not None else waiting & {row}
            if self.recheck:
                self.enqueue()
        if not instance.remembers():
            del self.instances[row]

    def run(
        self, now_s: float, tick: bool, woken: Iterable[int], paused: str, transitions: list[Transition]
    ) -> list[Firing]:
        """One evaluation: of what has changed, at a tick also of what is true. Firings in subject order."""
        if self.expr.settled is not None:
            self.expr.settled.release()
        samples: set[int] = set()
        rows = self._evaluate(tick, samples)
        if tick:
            rows.update(row for row in self.awake if self.instances[row].truth)
        rows.update(self.recheck)
        rows.update(row for row in woken if row in self.instances)
        self.recheck.clear()
        self.examined = rows
        self._started = 0
        if not rows:
            return []
        self.looks += 1
        firings: list[Firing] = []
        for row in self._in_order(rows):
            firings += self._examine(row, now_s, tick, row in samples, paused, transitions)
        return firings

    def _evaluate(self, tick: bool, samples: set[int]) -> set[int]:
        """The rows whose condition, clearing condition or arguments are not as they were seen."""
        if not (tick or self.rule.on_update_check):
            return set()
        rows = set()
        if tick and (self.timed or self.rule.n_of is not None):
            self.expr.every = True
        looked_at = self.expr.take()
        if self.samples_updates:
            samples |= self.samples
            self.samples.clear()
            looked_at = {*looked_at, *samples}
        elif tick and self.rule.n_of is not None:
            samples.update(self.expr.rows())
        seen, truth = self.seen, self.expr.truth
        for row in looked_at:
            now = truth(row)
            if now is not seen.get(row, False):
                seen[row] = now
                self.turns += 1
                rows.add(row)
        rows |= samples
        if self.until is not None:
            changed = self.until.rows() if tick and self.timed else self.until.take()
            rows.update(row for row in changed if row in self.instances)
        if self.arguments is not None:
            rows.update(row for row in self.arguments.take() if row in self.instances)
        return rows

    def _in_order(self, rows: set[int]) -> Iterable[int]:
        if self.table is None or len(rows) == 1:
            return rows
        if len(rows) * 4 < len(self.table):
            order = self.table.arrivals
            return sorted(rows, key=order.__getitem__)
        return [row for row in self.table.rows.values() if row in rows]

    def _examine(
        self, row: int, now_s: float, tick: bool, sample: bool, paused: str, transitions: list[Transition]
    ) -> list[Firing]:
        rule = self.rule
        raw = self.seen.get(row, False)
        instance = self.instances.get(row)
        if instance is None:
            if raw is False or (raw is None and rule.on_unknown != "fire"):
                return []  # nothing to remember: a missing instance stands for "never true"
            instance = self.instances[row] = Instance()
        before = instance.state
        over = self.until.truth(row) if self.until is not None else None
        if instance.latched and over is True and (tick or rule.on_update_check):
            instance.latched = False
            instance.armed = instance.truth
        condition = settle(instance, rule, raw, now_s, sample)
        instance.wake_s = None
        firings: list[Firing] = []
        may_fire = condition and (tick or (instance.armed and rule.on_update_check))
        if instance.queued or may_fire:
            found = gates(instance, rule, self._around(row, over, now_s, paused))
            if leaves_queue(instance, found):
                firings = self._queued(row, instance, now_s)
            elif may_fire:
                is_open, wake_s = blocked_until(enters(rule, found))
                if is_open:
                    firings = self._fire(row, instance, now_s)
                elif instance.armed and rule.on_update_check:
                    instance.wake_s = wake_s
        if instance.is_awake:
            self.awake.add(row)
        else:
            self.awake.discard(row)
        after = instance.state
        if after != before:
            transitions.append(Transition(rule.name, self.subject(row), before, after, now_s))
        if not instance.remembers():
            del self.instances[row]
        return firings

    def around(self, row: int, now_s: float, paused: str) -> tuple[Instance, Around]:
        """What the gates of a row see now, for an explanation."""
        instance = self.instances.get(row) or Instance()
        over = self.until.truth(row) if self.until is not None else None
        return instance, self._around(row, over, now_s, paused)

    def gates(self, row: int, now_s: float, paused: str) -> list[Gate]:
        instance, around = self.around(row, now_s, paused)
        return gates(instance, self.rule, around)

    def _around(self, row: int, over: bool | None, now_s: float, paused: str) -> Around:
        running = self._started
        if self.rule.max_running is not None:
            running += sum(i.running for i in self.instances.values())
        arguments = True if self.arguments is None else self.arguments.truth(row)
        return Around(now_s, over, arguments, paused, running)

    def _fire(self, row: int, instance: Instance, now_s: float) -> list[Firing]:
        note_firing(instance, self.rule, now_s)
        if self.rule.mode == "queued" and (instance.running or instance.queued):
            instance.queued = min(instance.queued + 1, MAX_QUEUED)
            return []
        return [self._firing(row, instance, now_s)]

    def _queued(self, row: int, instance: Instance, now_s: float) -> list[Firing]:
        instance.queued -= 1
        self.recheck.add(row)  # the next one may follow at once if this one sets nothing off
        self.enqueue()
        return [self._firing(row, instance, now_s)]

    def _firing(self, row: int, instance: Instance, now_s: float) -> Firing:
        rule = self.rule
        subject = self.subject(row)
        scope: dict[str, Any] = {rule.each: subject} if rule.each else {}
        value = self._interpreter.value
        calls = [
            Call(
                call.operation,
                tuple(value(arg, scope) for arg in call.args),
                {name: value(arg, scope) for name, arg in call.kwargs},
            )
            for call in rule.cmd
        ]
        self._started += len(calls)  # until set_running tells, what this step started counts as running
        why = reason(rule.expr, self._interpreter, scope)
        restart = rule.mode == "restart" and instance.running > 0
        return Firing(rule.name, subject, calls, now_s, rule.priority, rule.dry_run, why, restart)


def _nothing() -> None:
    """For rules that are looked at only at their ticks."""


def _argument_check(rule: Rule) -> n.Node | None:
    """A condition that all arguments of the commands are known; None when they cannot but be."""
    unsure = []
    for call in rule.cmd:
        for node in (*call.args, *(arg for _, arg in call.kwargs)):
            match node:
                case n.Const() | n.Now() | n.Size() | n.Func(name="join"):
                    continue
                case n.ColumnRead(column="name", subject=n.Var()):
                    continue
            unsure.append(n.Known(type="bool", operand=node, text=f"known({node.text})"))
    return n.And(type="bool", operands=tuple(unsure)) if unsure else None

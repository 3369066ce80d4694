"""The core around `decide`: state, rules and engine together; fed by a live, recorded or generated stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vmm.decide.changes import describe
from vmm.decide.events import Entry, Started, Wished
from vmm.decide.outputs import Output
from vmm.decide.rulebook import Rules, check_rules, compile_rules
from vmm.decide.state import State, restore, save
from vmm.decide.step import decide
from vmm.messages.structs import Intent
from vmm.rules import Engine


class Core:
    """Feed it entries in order; it returns what each decides. Not thread-safe: one owner."""

    def __init__(self) -> None:
        self.state = State()
        self.rules: Rules = compile_rules({})
        self.engine = Engine(self.rules.book, self.state.world)
        self.onlooker: Callable[[], None] | None = None

    def feed(self, entry: Entry) -> list[Output]:
        """One step of the stream. Raises only on bugs: whatever an event holds is granted or refused."""
        event = entry.event
        self.state.position = entry.position
        self.state.world.advance(max(self.state.world.now_s, entry.time_s))
        if isinstance(event, Started):
            self._adopt(event.files, "the files at the start")
        elif isinstance(event, Wished) and self._is_new_reload(event.intent):
            self._adopt(event.intent.args.get("files", {}), f"reload by {event.intent.who}")
        _, outputs = decide(self.state, entry, self.rules, self.engine, self.onlooker)
        return outputs

    def replay(self, entries: Iterable[Entry]) -> None:
        """Feed entries whose outputs were acted on already."""
        for entry in entries:
            self.feed(entry)

    def snapshot(self) -> bytes:
        return save(self.state, dict(self.rules.files), self.engine.dump_state())

    @classmethod
    def from_snapshot(cls, payload: bytes) -> Core:
        core = cls()
        core.state, files, engine_state = restore(payload)
        core.rules = compile_rules(files)
        core._publish_schema()
        core.engine = Engine(core.rules.book, core.state.world, engine_state)
        return core

    def _is_new_reload(self, intent: Intent) -> bool:
        return intent.name == "reload" and intent.id not in self.state.wishes

    def _adopt(self, files: object, what: str) -> None:
        texts = _texts(files)
        if texts is None:
            text = f"{what} is refused, the old rules stay: it holds no files (name -> text)"
            self.state.note("manager", "rules", text, level="error")
            return
        if {name: texts.get(name, "") for name in self.rules.files} == dict(self.rules.files):
            return
        rules, findings = check_rules(texts)
        if rules is None:
            wrong = "; ".join(str(f) for f in findings if f.severity == "error")
            text = f"{what} is refused, the old rules stay: {wrong}"
            self.state.note("manager", "rules", text, level="error")
            return
        changes = describe(self.rules, rules)
        self.rules = rules
        self._publish_schema()
        self.engine.reload(rules.book)
        self.state.note("manager", "rules", f"{what}: {'; '.join(line.strip() for line in changes)}")

    def _publish_schema(self) -> None:
        """Properties get their type, unit and time to live on the rows that carry them."""
        world = self.state.world
        for spec in self.rules.properties.values():
            for table in (world.clients, world.hosts, world.guests):
                table.declare(spec.name, type=spec.return_type, unit=spec.unit, max_age_s=spec.max_age_s)


def _texts(files: object) -> dict[str, str] | None:
    """The files of a wish, which may hold anything; None when they are none."""
    if not isinstance(files, dict):
        return None
    texts = {str(name): text for name, text in files.items() if isinstance(text, str)}
    return texts if len(texts) == len(files) else None

"""What can go wrong with the demo."""

from __future__ import annotations

from vmm.errors import VmmError


class PartFailed(VmmError):
    """A program of the demo ended, or never got to work. `tail` is the end of its log."""

    code = "demo-part"

    def __init__(self, part: str, what: str, tail: str, *, next_step: str = "") -> None:
        log = "\n".join(f"    {line}" for line in tail.splitlines()) or "    (nothing)"
        super().__init__(f"the {part} {what}. The end of its log:\n{log}", next_step=next_step)
        self.part, self.tail = part, tail


class FolderTaken(VmmError):
    """The folder that the demo should keep its files in has something in it."""

    code = "demo-folder"


class DemoFailed(VmmError):
    """The demo itself cannot go on."""

    code = "demo"

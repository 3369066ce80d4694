"""Errors of the Manager program."""

from __future__ import annotations

from vmm.errors import VmmError


class SecondManager(VmmError):
    """Another Manager leads already; this one must not decide beside it."""

    code = "second-manager"


class StartFailed(VmmError):
    """The Manager cannot start; nothing was changed."""

    code = "start-failed"

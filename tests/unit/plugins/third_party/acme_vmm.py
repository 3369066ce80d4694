"""A site's own plugin, as docs/how-to/write-a-plugin.md describes it."""

from vmm.plugins.hookspecs import Collector, CommandPlugin, Context, hookimpl


def read_temperature(_context: Context, parameters: str) -> float:
    return {"": 21.5, "rack2": 24.0}[parameters]


def blink(_context: Context, light: str, times: int = 3) -> str:
    return " ".join([light] * times)


@hookimpl
def vmm_collectors() -> list[Collector]:
    return [Collector("temperature", read_temperature, float, "°C", description="Air at the rack")]


@hookimpl
def vmm_commands() -> list[CommandPlugin]:
    return [CommandPlugin("blink", blink, {"light": str, "times": int}, ("dom0",), repeatable=True)]

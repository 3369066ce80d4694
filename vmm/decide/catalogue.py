"""The collectors that exist, as the rules need to know them, in a form that travels with the rule files.

A journal keeps it beside the files, so that a replay does not depend on the plugins installed then and now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from vmm.errors import ConfigError
from vmm.rules import CollectorInfo, CollectorLike


class BadCatalogue(ConfigError):
    """The catalogue beside the rule files is not what `encode_catalogue` makes."""

    code = "catalogue"


CATALOGUE = "collectors"
"""Its name among the files of a `Started` event or a reload."""

_TYPES: dict[str, type] = {t.__name__: t for t in (int, float, str, bool, list, dict)}


def encode_catalogue(collectors: Mapping[str, CollectorLike]) -> str:
    """JSON, the same for the same collectors."""
    rows = {
        name: [c.returns.__name__, c.unit, list(c.roles), list(c.columns)] for name, c in collectors.items()
    }
    return json.dumps(rows, sort_keys=True)


def decode_catalogue(text: str) -> dict[str, CollectorInfo]:
    """The inverse; an empty text is an empty catalogue. Raises BadCatalogue."""
    try:
        rows = json.loads(text) if text else {}
        return {
            str(name): CollectorInfo(
                str(name), _TYPES[returns], str(unit), tuple(map(str, roles)), tuple(map(str, columns))
            )
            for name, (returns, unit, roles, columns) in rows.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise BadCatalogue(
            f"the catalogue of collectors is not one: {exc!r:.100}",
            next_step="hand over what `vmm rules reload` of this version makes",
        ) from exc

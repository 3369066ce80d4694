"""From the text between braces to a Python syntax tree that holds nothing but the language's own constructs.

The tree is never run by Python: nodes.py gives it meaning. What is refused here never gets that far.
"""

from __future__ import annotations

import ast
import re

from vmm.rules.errors import ExpressionError

_WITH_UNIT = re.compile(r"\b\d[\d.]*[A-Za-z]\w*")

MAX_TEXT = 4000
MAX_NODES = 400
MAX_DEPTH = 40
MAX_LOOP_DEPTH = 3
MAX_SUBJECT_LOOP_DEPTH = 2
MAX_STRING = 1000
MAX_INT = 1 << 63

_ALLOWED: tuple[type[ast.AST], ...] = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd,
    ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod,
    ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn,
    ast.Call, ast.keyword, ast.Attribute, ast.Subscript, ast.Name, ast.Load, ast.Store, ast.Constant,
    ast.GeneratorExp, ast.ListComp, ast.comprehension, ast.IfExp, ast.Tuple, ast.List, ast.Set,
    ast.JoinedStr, ast.FormattedValue,
)  # fmt: skip

_HINTS: dict[type[ast.AST], str] = {
    ast.Pow: "Write a product; powers can grow without bound.",
    ast.Is: "Write known(x), or == to compare.",
    ast.IsNot: "Write known(x), or != to compare.",
    ast.Lambda: "Write the condition itself.",
    ast.NamedExpr: "Write == to compare.",
    ast.SetComp: "Use [ ... for ... ] or any(...), count(...).",
    ast.DictComp: "Use any(...), count(...), sum(...) over the subjects.",
    ast.Starred: "Name the arguments one by one.",
    ast.BitAnd: "Write `and`.",
    ast.BitOr: "Write `or`.",
    ast.Invert: "Write `not`.",
}


def unbrace(text: str) -> str:
    """What stands between the outer braces. Raises ExpressionError without them."""
    body = text.strip()
    if not (body.startswith("{") and body.endswith("}") and len(body) >= 2):
        raise ExpressionError("an expression stands in braces.", 1, f"Write {{ {body.strip('{} ')} }}.")
    return body[1:-1].replace("\r", " ")  # Python would count it as a line end


def parse_expression(text: str) -> tuple[ast.expr, str]:
    """The tree of a braced expression, and the source that its positions count in. Raises ExpressionError."""
    inner = unbrace(text)
    # Parentheses let an expression run over several lines without Python's rules of indentation.
    source = f"({inner}\n)"
    tree = _parse(source, inner, "eval")
    assert isinstance(tree, ast.Expression)
    _check(tree.body)
    return tree.body, source


def parse_calls(text: str) -> tuple[list[ast.Call], str]:
    """The calls of a braced command, parted by `;` or line ends, and their source. Raises ExpressionError."""
    inner = unbrace(text)
    source = "\n".join(line.strip() for line in inner.split("\n"))
    module = _parse(source, inner, "exec")
    assert isinstance(module, ast.Module)
    calls = []
    for statement in module.body:
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
            raise ExpressionError(
                "a command is a call like sender.notify('text').",
                getattr(statement, "lineno", 1),
                "Conditions belong into expr.",
            )
        _check(statement.value)
        calls.append(statement.value)
    if not calls:
        raise ExpressionError("there is no command between the braces.", 1, "Write { sender.NAME(...) }.")
    return calls, source


def source_of(tree: ast.AST, source: str) -> str:
    """The node's own text on one line, as it was written."""
    return " ".join((ast.get_source_segment(source, tree) or ast.unparse(tree)).split())


def _parse(source: str, inner: str, mode: str) -> ast.AST:
    if not inner.strip():
        hint = "Write { sender.NAME(...) }." if mode == "exec" else "Write a condition."
        raise ExpressionError("there is nothing between the braces.", 1, hint)
    if len(source) > MAX_TEXT:
        raise ExpressionError(
            f"{len(source)} characters are too long for one expression (at most {MAX_TEXT}).",
            1,
            "Split it into several rules.",
        )
    try:
        return ast.parse(source, mode=mode)
    except SyntaxError as exc:
        line = min(exc.lineno or 1, inner.count("\n") + 1)
        raise ExpressionError(f"not an expression: {exc.msg}.", line, _syntax_hint(inner)) from None
    except (ValueError, RecursionError, MemoryError) as exc:
        raise ExpressionError(f"not an expression: {type(exc).__name__}: {exc}.", 1) from None


def _syntax_hint(inner: str) -> str:
    if "&&" in inner or "||" in inner:
        return "Write `and`, `or`, `not`."
    if _WITH_UNIT.search(inner):
        return (
            "Numbers have no unit here: write them in the column's (2048 for MiB); minutes(5) is a duration."
        )
    if "=" in inner.replace("==", "").replace("!=", "").replace("<=", "").replace(">=", ""):
        return "Write == to compare."
    return ""


def _check(root: ast.expr) -> None:
    """Refuse what is not on the list, and what could cost too much."""
    stack: list[tuple[ast.AST, int, int, int]] = [(root, 1, 0, 0)]
    count = 0
    while stack:
        node, depth, loops, wide = stack.pop()
        count += 1
        line = getattr(node, "lineno", getattr(root, "lineno", 1))
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise ExpressionError("the expression is too large.", line, "Split it into several rules.")
        if not isinstance(node, _ALLOWED):
            hint = _HINTS.get(type(node), "")
            raise ExpressionError(f"{_name(node)} is not part of the language.", line, hint)
        if isinstance(node, ast.GeneratorExp | ast.ListComp):
            loops += len(node.generators)
            wide += sum(_over_subjects(g.iter) for g in node.generators)
            if loops > MAX_LOOP_DEPTH or wide > MAX_SUBJECT_LOOP_DEPTH:
                raise ExpressionError(
                    f"more than {MAX_SUBJECT_LOOP_DEPTH} loops over subjects in one another "
                    f"(or {MAX_LOOP_DEPTH} loops in all) cost too much.",
                    line,
                    "Use columns that are counted already, or split the rule.",
                )
        _check_leaf(node, line)
        stack.extend((child, depth + 1, loops, wide) for child in ast.iter_child_nodes(node))


def _over_subjects(iterable: ast.expr) -> bool:
    return any(isinstance(part, ast.Name) and part.id == "manager" for part in ast.walk(iterable))


def _check_leaf(node: ast.AST, line: int) -> None:
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name) if name.startswith("_"):
            raise ExpressionError(f"{name!r} is not a published name.", line)
        case ast.keyword(arg=None):
            raise ExpressionError("** is not part of the language.", line, "Name the arguments one by one.")
        case ast.FormattedValue() if node.conversion != -1 or node.format_spec is not None:
            raise ExpressionError(
                "conversions and format specifications are not part of the language.", line, "Write {x}."
            )
        case ast.comprehension(is_async=1):
            raise ExpressionError("async is not part of the language.", line)
        case ast.Constant(value=value):
            _check_constant(value, line)


def _check_constant(value: object, line: int) -> None:
    if value is None:
        raise ExpressionError("None is not part of the language.", line, "Write known(x) or not known(x).")
    if not isinstance(value, bool | int | float | str):
        raise ExpressionError(f"{value!r} is not a value of the language.", line)
    if isinstance(value, str) and len(value) > MAX_STRING:
        raise ExpressionError(f"the text is longer than {MAX_STRING} characters.", line)
    if isinstance(value, int) and abs(value) >= MAX_INT:
        raise ExpressionError("the number does not fit 64 bits.", line)
    if isinstance(value, float) and value - value != 0.0:
        raise ExpressionError("the number is not finite.", line)


def _name(node: ast.AST) -> str:
    names: dict[type[ast.AST], str] = {
        ast.Pow: "**",
        ast.Is: "`is`",
        ast.IsNot: "`is not`",
        ast.Lambda: "lambda",
        ast.NamedExpr: ":=",
        ast.Await: "await",
        ast.Starred: "*",
    }
    return names.get(type(node), type(node).__name__)

"""`--fail-if 'EXPR'`: a comparison of numbers in the JSON of a command, for checks in continuous integration.

`network.indices.gini < 0.4 or coverage.analysed < coverage.parameters` reads the document; a name of its own such
as `gini` or `pq_index[0.5,1]` means the index of the whole network; `tensor.zeros > 0` is true when any tensor says so.
"""

import ast
import operator
from collections.abc import Callable
from typing import Any

COMPARE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
COMPUTE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def holds(expression: str, document: dict[str, Any]) -> bool:
    """Whether the expression is true of the document; ValueError when it cannot be read or names what is not there.

    >>> holds("gini > 0.5 and tensor.zeros == 3", {"network": {"indices": {"gini": 0.6}}, "tensors": [{"zeros": 3}]})
    True
    """
    try:
        tree = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise ValueError(f"--fail-if takes comparisons such as 'gini < 0.4', got {expression!r}.") from None
    names = dict(document.get("network", {}).get("indices", document.get("indices", {}))) | document
    if not any(isinstance(node, ast.Name) and node.id == "tensor" for node in ast.walk(tree)):
        return bool(_value(tree, names))
    return any(_value(tree, names | {"tensor": tensor}) for tensor in document.get("tensors", []))


def _value(node: ast.AST, names: dict[str, Any]) -> Any:
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(v, names) for v in values)
        case ast.BoolOp(values=values):
            return any(_value(v, names) for v in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, names)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_number(operand, names)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in COMPUTE:
            return COMPUTE[type(op)](_number(left, names), _number(right, names))
        case ast.Compare(left=left, ops=ops, comparators=comparators) if all(type(op) in COMPARE for op in ops):
            sides = [_value(side, names) for side in (left, *comparators)]
            return all(_compared(op, a, b) for op, a, b in zip(ops, sides, sides[1:], strict=False))
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return _entry(names, name)
        case ast.Attribute(value=value, attr=attr):
            return _entry(_value(value, names), attr)
        case ast.Subscript(value=value, slice=key):
            return _entry(_value(value, names), ast.unparse(key).strip("()").replace(" ", "").strip("'\""))
    raise ValueError(f"--fail-if knows comparisons, and, or, not and + - * /, got {ast.unparse(node)!r}.")


def _entry(table: Any, key: str) -> Any:
    if isinstance(table, list) and key.lstrip("-").isdigit() and abs(int(key)) < len(table):
        return table[int(key)]
    if not isinstance(table, dict) or key not in table:
        known = ", ".join(list(table)[:20]) if isinstance(table, dict) else "no entries"
        raise ValueError(f"--fail-if must name entries of the JSON output, got {key!r} where there are {known}.")
    return table[key]


def _compared(op: ast.cmpop, a: Any, b: Any) -> bool:
    if a is None or b is None or isinstance(a, str) != isinstance(b, str):
        return isinstance(op, ast.NotEq)
    return bool(COMPARE[type(op)](a, b))


def _number(node: ast.AST, names: dict[str, Any]) -> float:
    value = _value(node, names)
    if not isinstance(value, int | float):
        raise ValueError(f"--fail-if computes with numbers, got {ast.unparse(node)!r} = {value!r}.")
    return value

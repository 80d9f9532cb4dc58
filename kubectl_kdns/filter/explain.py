"""Says in words what a filter is: its expression, the fields it reads, and whether it asks the directory."""

from __future__ import annotations

from kubectl_kdns.fields import BY_PATH
from kubectl_kdns.filter.expression import Filter
from kubectl_kdns.filter.nodes import And, Expr, Or, operand_texts, to_text

WIDTH = 100


def explain(filter_: Filter) -> str:
    """Lines for --explain-filter, without a newline at the end; the backends' plans go below."""
    if filter_.expr is None:
        return "filter     none: everything is shown"
    lines = _laid_out(filter_.expr)
    text = ["filter     " + lines[0], *("           " + line for line in lines[1:])]
    paths = [path for path in BY_PATH if path in filter_.fields]
    width = max(map(len, paths), default=0)
    for index, path in enumerate(paths):
        row = BY_PATH[path]
        unit = f" ({row.unit})" if row.unit and row.unit not in row.meaning else ""
        text.append(f"{'' if index else 'fields':11}{path:{width}}  {row.type}: {row.meaning}{unit}")
    text.append(f"directory  {_directory(filter_)}")
    return "\n".join(text)


def _directory(filter_: Filter) -> str:
    if not filter_.needs_directory:
        return "not needed: it starts at once"
    reasons = [path for path in BY_PATH if path in filter_.fields and BY_PATH[path].directory]
    if filter_.asks_directory:
        reasons.append("labels or Services")
    return f"needed for {', '.join(reasons)}: it waits until pods are listed"


def _laid_out(expr: Expr) -> list[str]:
    """The canonical text; if it is long, one operand of the outermost && or || a line."""
    text = to_text(expr)
    if len(text) <= WIDTH or not isinstance(expr, And | Or):
        return [text]
    sign = "&&" if isinstance(expr, And) else "||"
    first, *rest = operand_texts(expr)
    return [first, *(f"{sign} {operand}" for operand in rest)]

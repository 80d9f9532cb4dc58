"""The filter language: CEL's syntax over the fields of a record; docs/filter.md is its manual.

`parse_filter` reads and checks an expression, `flags_expression` makes one of the command line's flags,
`implied_*` tell a backend what it may drop early.
"""

from kubectl_kdns.filter.expression import Environment, Filter, parse_filter
from kubectl_kdns.filter.implied import implied_minimum, implied_needles, implied_values
from kubectl_kdns.filter.regex import Needle
from kubectl_kdns.filter.selector import Selector, parse_selector

__all__ = [
    "Environment",
    "Filter",
    "Needle",
    "Selector",
    "implied_minimum",
    "implied_needles",
    "implied_values",
    "parse_filter",
    "parse_selector",
]

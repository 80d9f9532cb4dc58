"""How flags are declared: a group is a class, an attribute is a flag; typer reads a signature made of them.

One declaration serves the parser (`command`), the help pages (tools/gen_help.py) and the options object
that a command gets. Groups are combined by listing them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Self, dataclass_transform, get_type_hints

from msgspec import Struct

from kubectl_kdns.errors import UsageError
from kubectl_kdns.times import parse_duration, parse_time


class Flag(Struct, frozen=True):
    """One flag: `names` as on the command line, none for a positional argument."""

    names: tuple[str, ...]
    help: str
    default: Any = None
    metavar: str = ""
    hidden: bool = False


def flag(*names: str, help: str, default: Any = None, metavar: str = "", hidden: bool = False) -> Any:
    """Declares a flag of a group. A default of `()` makes it repeatable."""
    return Flag(names, help, default, metavar, hidden)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(flag,))
class Options:
    """The base of a group. Not a dataclass: what one generates for every class costs time at every start."""

    FLAGS: ClassVar[dict[str, Flag]] = {}

    def __init_subclass__(cls) -> None:
        cls.FLAGS = {name: value for name, value in vars(cls).items() if isinstance(value, Flag)}
        for name, value in cls.FLAGS.items():
            setattr(cls, name, value.default)

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def but(self, **values: Any) -> Self:
        """The same options with these values."""
        return type(self)(**{**self.__dict__, **values})


def _parameter(name: str, item: Flag, type_hint: Any) -> inspect.Parameter:
    import typer

    repeatable = item.default == ()
    if item.names:
        info: Any = typer.Option(*item.names, metavar=item.metavar or None, show_default=False)
    else:
        info = typer.Argument(metavar=item.metavar or None, show_default=False)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=[] if repeatable else item.default,
        annotation=Annotated[list[str] if repeatable else type_hint, info],
    )


def command(groups: Sequence[type[Options]], run: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """A function for typer that gives `run` with one object of each group, in their order, to be called.

    It is not called from inside of typer, which would turn a closed pipe and Ctrl-C into ends of its own.
    """

    def invoke(**values: Any) -> Callable[[], None]:
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return partial(run, *(group(**{name: plain[name] for name in group.FLAGS}) for group in groups))

    parameters = [
        _parameter(name, item, hints[name])
        for group in groups
        for hints in [get_type_hints(group)]
        for name, item in group.FLAGS.items()
    ]
    invoke.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    invoke.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return invoke


def duration_ns(name: str, text: str) -> int | None:
    """A duration flag's value in nanoseconds, None when it was not given; UsageError names the flag."""
    if not text:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{name} {text}: {error}") from None


def moment_ns(name: str, text: str, now_ns: int) -> int | None:
    """A flag that takes a time (RFC 3339) or a duration before now (10m), in nanoseconds since the epoch."""
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError:
        pass
    try:
        return now_ns - parse_duration(text)
    except ValueError:
        raise UsageError(
            f"{name} {text}: neither a duration nor a time",
            hint=f"{name} 10m, or {name} 2026-01-31T09:00:00Z",
        ) from None


def comma_list(values: Sequence[str]) -> tuple[str, ...]:
    """`a,b` and repetitions of a flag as one tuple."""
    return tuple(part.strip() for value in values for part in value.split(",") if part.strip())

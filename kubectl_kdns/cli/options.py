"""How flags are declared: a group is a frozen dataclass, a field is a flag; typer reads a signature made of them.

One declaration serves the parser (`signature`), the help pages (tools/gen_help.py) and the options object
that a command gets. Groups are combined by listing them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import partial
from typing import Annotated, Any, TypeVar, dataclass_transform, get_type_hints

from kubectl_kdns.errors import UsageError
from kubectl_kdns.times import parse_duration, parse_time

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def options(cls: type[T]) -> type[T]:
    """A frozen dataclass without the methods that nobody needs here: making each costs time at every start."""
    return dataclass(frozen=True, repr=False, eq=False, match_args=False)(cls)


def flag(*names: str, help: str, default: Any = None, metavar: str = "", hidden: bool = False) -> Any:
    """A dataclass field that is a flag: `names` as on the command line, none for a positional argument.

    A default of `()` makes the flag repeatable.
    """
    return field(
        default=default, metadata={"names": names, "help": help, "metavar": metavar, "hidden": hidden}
    )


def _parameter(item: Field[Any], type_hint: Any) -> inspect.Parameter:
    import typer

    assert item.default is not MISSING
    meta = item.metadata
    repeatable = item.default == ()
    annotation = list[str] if repeatable else type_hint
    default: Any = [] if repeatable else item.default
    if meta["names"]:
        info: Any = typer.Option(*meta["names"], metavar=meta["metavar"] or None, show_default=False)
    else:
        info = typer.Argument(metavar=meta["metavar"] or None, show_default=False)
    return inspect.Parameter(
        item.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[annotation, info],
    )


def command(groups: Sequence[type], run: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """A function for typer that gives `run` with one object of each group, in their order, to be called.

    It is not called from inside of typer, which would turn a closed pipe and Ctrl-C into ends of its own.
    """

    def invoke(**values: Any) -> Callable[[], None]:
        objects = []
        for group in groups:
            own = {item.name: values[item.name] for item in fields(group)}
            objects.append(group(**{k: tuple(v) if isinstance(v, list) else v for k, v in own.items()}))
        return partial(run, *objects)

    parameters = [
        _parameter(item, hints[item.name])
        for group in groups
        for hints in [get_type_hints(group)]
        for item in fields(group)
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

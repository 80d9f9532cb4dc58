"""What tells lookups apart, and the memory of those that were told: what still comes of one is no news."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import UNSET

from kubectl_kdns.dns.wire import DecodedMessage
from kubectl_kdns.messages import Asked, Exchange

MAX_REMEMBERED = 16384

Key: TypeAlias = tuple[object, ...]
"""An exchange; with the question behind it while another question of that exchange waits."""


class Told:
    """Lookups whose record was made, so that what still comes of them is known: those of the last `span_ns`,
    and at most twice that; but of many only the last MAX_REMEMBERED, and at most twice as many."""

    def __init__(self, span_ns: int) -> None:
        self._span_ns = span_ns
        self._recent: dict[Key, Asked] = {}
        self._older: dict[Key, Asked] = {}
        # The recent ones were told from then on.
        self._since = 0

    def add(self, key: Key, asked: Asked) -> None:
        recent = self._recent
        if asked.told - self._since > self._span_ns or len(recent) >= MAX_REMEMBERED:
            self._older, self._recent, self._since = recent, {}, asked.told
        known = self._recent.setdefault(key, asked)
        if known is not asked:
            if not same_question(known.message, asked.message):
                key = with_question(asked.exchange, asked.message)
            self._recent[key] = asked

    def find(self, exchange: Exchange, message: DecodedMessage, clock: int) -> Asked | None:
        """The lookup that this message can be a part of."""
        since = clock - self._span_ns
        for key in (exchange, with_question(exchange, message)):
            for generation in (self._recent, self._older):
                asked = generation.get(key)
                if asked is not None and asked.told >= since and fits(asked.message, message):
                    return asked
        return None


def with_question(exchange: Exchange, message: DecodedMessage) -> Key:
    return (*exchange, message.name, message.type, message.class_, message.opcode)


def same_question(question: DecodedMessage, other: DecodedMessage) -> bool:
    return (
        question.name == other.name
        and question.type == other.type
        and question.class_ == other.class_
        and question.opcode == other.opcode
    )


def fits(question: DecodedMessage, other: DecodedMessage) -> bool:
    """Whether they can be of one lookup: the same question, or one of them does not say which."""
    return question.name is UNSET or other.name is UNSET or same_question(question, other)

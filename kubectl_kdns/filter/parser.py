"""Text to syntax tree, by recursive descent over a subset of CEL's grammar.

    expr     = and {"||" and}
    and      = relation {"&&" relation}
    relation = unary [("==" | "!=" | "<" | "<=" | ">" | ">=" | "in") unary]
    unary    = "!" unary | "-" number | primary ["." method "(" expr ")"]
    primary  = literal | "[" [literal {"," literal}] "]" | "(" expr ")" | path
             | "has" "(" path ")" | "size" "(" expr ")"

Of CEL's grammar it leaves out what a filter does not need: arithmetic, `? :`, maps, macros, and a
comparison of a comparison without parentheses.
"""

from __future__ import annotations

from kubectl_kdns.errors import FilterError, did_you_mean
from kubectl_kdns.filter.lexer import Token, tokens_of
from kubectl_kdns.filter.nodes import (
    DIRECTORY_METHODS,
    And,
    Call,
    Compare,
    Expr,
    Field,
    Has,
    In,
    ListOf,
    Literal,
    Not,
    Or,
    Size,
)

MAX_DEPTH = 50
"""Of parentheses, negations and arguments; CEL asks for 12 at least."""

METHODS = ("startsWith", "endsWith", "contains", "matches", "size", *DIRECTORY_METHODS)
FUNCTIONS = ("has", "size")
_RELATIONS = ("==", "!=", "<", "<=", ">", ">=", "in")
_WORDS = {"and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!"}


def parse(source: str) -> Expr:
    """The syntax tree; its fields and types are not checked yet. Raises FilterError."""
    parser = _Parser(source)
    expr = parser.expression()
    parser.expect_end()
    return expr


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens = tokens_of(source)
        self._index = 0
        self._depth = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._index]

    def _advance(self) -> Token:
        token = self._token
        if token.kind != "end":
            self._index += 1
        return token

    def _is(self, text: str) -> bool:
        return self._token.text == text and self._token.kind in ("op", "word")

    def _take(self, text: str) -> bool:
        found = self._is(text)
        if found:
            self._index += 1
        return found

    def _error(self, what: str, position: int, hint: str = "") -> FilterError:
        return FilterError(what, source=self._source, position=position, hint=hint)

    def _expect(self, text: str, opened: Token) -> None:
        if not self._take(text):
            found = self._token
            end = found.kind == "end"
            raise self._error(
                f"{opened.text} is not closed" if end else f"expected {text}, found {found.text}",
                opened.position if end else found.position,
                "" if end else self._operator_hint(found),
            )

    def expect_end(self) -> None:
        token = self._token
        if token.kind != "end":
            raise self._error(
                f"expected && or || or the end, found {token.text}",
                token.position,
                self._operator_hint(token),
            )

    @staticmethod
    def _operator_hint(token: Token) -> str:
        if token.text in _WORDS and token.kind == "word":
            return f"write {_WORDS[token.text]} for {token.text}"
        if token.text in _RELATIONS:
            return "comparisons do not chain: write (a == b) && (b == c)"
        if token.kind == "op" and token.text == ".":
            return "nothing can follow the result of a method"
        return ""

    def expression(self) -> Expr:
        position = self._token.position
        operands = [self._conjunction()]
        while self._take("||"):
            operands.append(self._conjunction())
        return Or(tuple(operands), position=position) if len(operands) > 1 else operands[0]

    def _conjunction(self) -> Expr:
        position = self._token.position
        operands = [self._relation()]
        while self._take("&&"):
            operands.append(self._relation())
        return And(tuple(operands), position=position) if len(operands) > 1 else operands[0]

    def _relation(self) -> Expr:
        left = self._unary()
        operator = self._token
        if operator.kind == "string" or operator.text not in _RELATIONS:
            return left
        self._advance()
        right = self._unary()
        if operator.text == "in":
            return In(left, right, position=operator.position)
        return Compare(operator.text, left, right, position=operator.position)

    def _unary(self) -> Expr:
        token = self._token
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"more than {MAX_DEPTH} levels of parentheses and !", token.position)
        if self._take("!"):
            expr: Expr = Not(self._unary(), position=token.position)
        elif self._take("-"):
            expr = self._negative(token)
        else:
            expr = self._member()
        self._depth -= 1
        return expr

    def _negative(self, minus: Token) -> Literal:
        number = self._advance()
        if number.kind != "number" or number.text[-1] in "uU":
            raise self._error("only a number can follow -", minus.position)
        return Literal(-number.value, position=minus.position)

    def _member(self) -> Expr:
        expr = self._primary()
        dot = self._token
        if not self._take("."):
            return expr
        name = self._advance()
        if name.kind != "word":
            raise self._error("expected the name of a field or a method behind the dot", dot.position)
        return self._method(expr, name)

    def _primary(self) -> Expr:
        token = self._advance()
        position = token.position
        if token.kind == "number":
            if token.value == 1 << 63 and token.text[-1] not in "uU":
                raise self._error(f"{token.text} is not a number of 64 bits", position)
            return Literal(token.value, position=position)
        if token.kind == "string":
            return Literal(token.value, position=position)
        if token.kind == "op" and token.text == "(":
            expr = self.expression()
            self._expect(")", token)
            return expr
        if token.kind == "op" and token.text == "[":
            return self._list(token)
        if token.kind == "word":
            return self._word(token)
        raise self._error(
            "the filter ends where a condition is expected"
            if token.kind == "end"
            else f"expected a field, a value or a condition, found {token.text}",
            position,
        )

    def _list(self, opened: Token) -> ListOf:
        items: list[Literal] = []
        while not self._is("]"):
            item = self._unary()
            if not isinstance(item, Literal):
                hint = 'a text needs quotes: "a"'
                raise self._error("a list holds values only, no fields", item.position, hint)
            items.append(item)
            if not self._take(","):
                break
        self._expect("]", opened)
        return ListOf(tuple(items), position=opened.position)

    def _word(self, word: Token) -> Expr:
        if word.text in ("true", "false"):
            return Literal(word.text == "true", position=word.position)
        if word.text == "null":
            hint = "to ask whether a field is known: has(field)"
            raise self._error("there is no null", word.position, hint)
        if word.text in _RELATIONS:
            raise self._error("nothing to compare on the left of in", word.position)
        if self._is("("):
            return self._function(word)
        path = word.text
        while self._is("."):
            if self._tokens[self._index + 1].kind != "word":
                break
            if self._tokens[self._index + 2].text == "(" and self._tokens[self._index + 2].kind == "op":
                break
            self._advance()
            path += f".{self._advance().text}"
        return Field(path, position=word.position)

    def _function(self, name: Token) -> Expr:
        if name.text not in FUNCTIONS:
            near = did_you_mean(name.text, FUNCTIONS) or "functions are: has, size"
            if name.text in METHODS:
                owner = "client" if name.text in DIRECTORY_METHODS else "dns.name"
                near = f"it is a method: {owner}.{name.text}(...)"
            raise self._error(f"there is no function {name.text}", name.position, near)
        argument = self._argument(name)
        if name.text == "size":
            return Size(argument, position=name.position)
        if not isinstance(argument, Field):
            raise self._error("has() takes a field", argument.position, "for example has(dns.rcode)")
        return Has(argument, position=name.position)

    def _method(self, receiver: Expr, name: Token) -> Expr:
        if not self._is("("):
            raise self._error("only a field has parts", name.position)
        if name.text not in METHODS:
            near = did_you_mean(name.text, METHODS)
            raise self._error(
                f"there is no method {name.text}", name.position, near or f"methods are: {', '.join(METHODS)}"
            )
        if name.text == "size":
            opened = self._advance()
            self._expect(")", opened)
            return Size(receiver, position=name.position)
        return Call(name.text, receiver, self._argument(name), position=name.position)

    def _argument(self, name: Token) -> Expr:
        opened = self._advance()
        if self._is(")"):
            raise self._error(f"{name.text}() needs an argument", self._token.position)
        argument = self.expression()
        if self._is(","):
            raise self._error(f"{name.text}() takes one argument", self._token.position)
        self._expect(")", opened)
        return argument

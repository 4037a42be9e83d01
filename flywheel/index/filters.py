"""Conditions as people type them: `age>50 and sex='F' and site in ('north', 'south')`."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from flywheel.errors import ConfigError
from flywheel.index.protocol import Condition, Scalar

BUILT_IN = frozenset(
    {"item_id", "content_id", "subject_id", "source", "key", "modality", "split", "cluster", "cluster_name"}
)
LARGEST = 1e300
LONGEST = 10_000

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![\w.])
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<op>>=|<=|!=|<>|=|>|<)
    | (?P<mark>[(),])
    | (?P<word>[^\W\d][\w.\-]*)
    )""",
    re.VERBOSE,
)
_VALUE = "a number, a word in quotes, true or false"


@dataclass(frozen=True)
class _Token:
    kind: str  # number | text | op | mark | word | end
    text: str
    position: int  # of its first character, counted from 1


def parse_filter(text: str) -> list[Condition]:
    """Return the conditions of a filter, all of which must hold.

    Comparisons `=  >  >=  <  <=` with a number, a quoted word or true / false, and `in (a, b)`, joined by `and`. A name
    is a built-in field (`modality`, `split`, `source`, `key`, `cluster`, `cluster_name`, `item_id`, `content_id`,
    `subject_id`) or an attribute, with or without `attr.` in front, in double quotes where it is no plain word. A quote
    inside quotes is written twice. `>` and `<=` become the closed and open bounds of a `Condition` at the next
    floating-point number.

    Raises:
        ConfigError: it is no such filter; the message names the position, what was found and what was expected.
    """
    return _Parser(text).conditions()


class _Parser:
    def __init__(self, text: str):
        self._text = text
        self._tokens = list(_tokens(text))
        self._next = 0

    def conditions(self) -> list[Condition]:
        found = [self._condition()]
        while self._peek().kind != "end":
            self._expect("'and' or the end", self._peek().text.lower() == "and")
            found.append(self._condition())
        return found

    def _condition(self) -> Condition:
        field = self._field()
        token = self._peek()
        is_in = token.kind == "word" and token.text.lower() == "in"
        self._expect("one of = > >= < <= in", is_in or (token.kind == "op" and token.text not in ("!=", "<>")))
        if is_in:
            return Condition(field, any_of=self._values())
        if token.text == "=":
            return Condition(field, equals=self._value())
        number = self._number()
        bound = math.nextafter(number, math.inf) if token.text in (">", "<=") else number
        return Condition(field, at_least=bound) if token.text.startswith(">") else Condition(field, below=bound)

    def _field(self) -> str:
        token = self._peek()
        quoted = token.kind == "text" and token.text.startswith('"') and len(token.text) > 2
        self._expect(
            "the name of a field", quoted or (token.kind == "word" and token.text.lower() not in ("and", "in"))
        )
        name = _unquoted(token.text) if quoted else token.text
        return name if name in BUILT_IN or name.startswith("attr.") else f"attr.{name}"

    def _values(self) -> tuple[Scalar, ...]:
        self._expect("'('", self._peek().text == "(")
        values = [self._value()]
        while self._peek().text == ",":
            self._next += 1
            values.append(self._value())
        self._expect("',' or ')'", self._peek().text == ")")
        return tuple(values)

    def _value(self) -> Scalar:
        token = self._peek()
        if token.kind == "number":
            return self._number()
        truth = token.kind == "word" and token.text.lower() in ("true", "false")
        self._expect(_VALUE, truth or token.kind == "text")
        return token.text.lower() == "true" if truth else _unquoted(token.text)

    def _number(self) -> float:
        token = self._peek()
        number = float(token.text) if token.kind == "number" else math.inf
        self._expect("a number" if token.kind != "number" else f"a number up to {LARGEST:g}", abs(number) <= LARGEST)
        return number

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _expect(self, expected: str, met: bool) -> None:
        """Go on to the next token if this one is as expected."""
        token = self._peek()
        if not met:
            found = "the end" if token.kind == "end" else f"'{token.text[:40]}'"
            raise _mistake(self._text, token.position, found, expected)
        self._next += 1


def _tokens(text: str) -> Iterator[_Token]:
    if len(text) > LONGEST:
        raise _mistake(text, LONGEST + 1, f"{len(text)} characters", f"at most {LONGEST}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _mistake(text, error.start + 1, repr(text[error.start]), "a character") from None
    place = 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            place += len(text[place:]) - len(text[place:].lstrip())
            raise _mistake(text, place + 1, f"'{text[place : place + 10]}'", f"a name, a comparison or {_VALUE}")
        yield _Token(match.lastgroup, match.group(match.lastgroup), match.start(match.lastgroup) + 1)
        place = match.end()
    yield _Token("end", "", len(text) + 1)


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0])


def _mistake(text: str, position: int, found: str, expected: str) -> ConfigError:
    shown = text if len(text) <= 200 else text[:197] + "..."
    return ConfigError(
        f"the filter {shown!r} has a mistake at character {position}: found {found}, expected {expected}"
    )

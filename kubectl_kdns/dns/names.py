r"""Domain names and free text in the one form that kdns prints: lower case, safe ASCII, no trailing dot.

Inside a label a dot and a backslash are escaped (`\.`, `\\`), and every byte outside 0x21..0x7E is
`\DDD`, decimal (RFC 1035 section 5.1, RFC 4343). Nothing else is escaped, whatever the source escapes:
the same name is the same text in every backend. The root is ".".
"""

from __future__ import annotations

import re
import unicodedata

_ESCAPED = tuple(
    f"\\{chr(b)}" if chr(b) in ".\\" else chr(b).lower() if 0x21 <= b <= 0x7E else f"\\{b:03d}"
    for b in range(256)
)
_PLAIN_NAME = re.compile(r"[a-z0-9_*-]+(?:\.[a-z0-9_*-]+)*")
_PLAIN_TEXT = re.compile(r"[\x20-\x7e]*")
_PLAIN_LABELS = re.compile(rb"[!-\[\]-~]*")
_ESCAPE = re.compile(r"\\(?:([0-9]{3})|(.))|([^\\.]+)|(\.)|(\\)", re.DOTALL)


def label_text(label: bytes) -> str:
    """One label of the wire as text: `b"A.b\\x1b"` becomes `a\\.b\\027`."""
    return "".join([_ESCAPED[byte] for byte in label])


def name_of_labels(labels: list[bytes]) -> str:
    """The labels of a wire name as one name; no labels are the root."""
    joined = b".".join(labels)
    # Nearly every name: nothing to escape, and no dot but those just put in.
    if _PLAIN_LABELS.fullmatch(joined) and joined.count(b".") == len(labels) - 1:
        return joined.decode("ascii").lower()
    return ".".join(map(label_text, labels)) or "."


def _raw_bytes(text: str) -> bytes:
    """UTF-8; bytes that a decoder took in by `surrogateescape` are themselves again. Total."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def name_of_text(text: str) -> str:
    r"""A name in anybody's presentation form (`My\ Host.Example.`, `b\195\188cher.`) as kdns prints it.

    Total: an escape that RFC 1035 does not know stands for its character, characters beyond ASCII for
    their UTF-8 bytes.
    """
    plain = text[:-1] if text.endswith(".") and len(text) > 1 else text
    if _PLAIN_NAME.fullmatch(plain):
        return plain
    parts: list[str] = []
    for number, escaped, run, dot, _lone in _ESCAPE.findall(text):
        if number and int(number) < 256:
            parts.append(_ESCAPED[int(number)])
        elif dot:
            parts.append(".")
        else:
            parts.append(label_text(_raw_bytes(number or escaped or run or "\\")))
    name = "".join(parts)
    if parts and parts[-1] == "." and len(parts) > 1:
        name = name[:-1]
    return name or "."


def safe_text(text: str) -> str:
    r"""Text from a network made safe for a terminal: C0, DEL, C1, bidi and other format controls, and
    lone surrogates become `\DDD` of their bytes. Anything else, letters of any script too, stays.
    """
    if _PLAIN_TEXT.fullmatch(text):
        return text
    return "".join(
        c
        if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        else "".join(f"\\{b:03d}" for b in _raw_bytes(c))
        for c in text
    )

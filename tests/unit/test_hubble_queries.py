r"""Names that kdns looks for are found in the names that Hubble shows, whatever bytes they have."""

from __future__ import annotations

import pytest
import re2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kdns_hubble.queries import MAX_PATTERNS, query_patterns, says_it_all
from kubectl_kdns.dns.names import name_of_labels
from kubectl_kdns.filter import Needle

LABEL_BYTES = b"abk2031-_ \\.'@;()\"*\x00\x1b\x7f\xc3\xff$^|"
labels = st.lists(st.lists(st.sampled_from(LABEL_BYTES), min_size=1, max_size=6).map(bytes), max_size=4)
kinds = st.sampled_from(["exact", "prefix", "suffix", "substring"])


def as_hubble_shows(name: list[bytes]) -> str:
    """miekg/dns's UnpackDomainName, then strings.ToLower, as Cilium's DNS proxy does it."""
    text = ""
    for label in name:
        for byte in label:
            char = chr(byte)
            if char in ". '@;()\"\\":
                text += "\\" + char
            else:
                text += char if " " <= char <= "~" else f"\\{byte:03d}"
        text += "."
    return text.lower() or "."


def fits(needle: Needle, name: str) -> bool:
    return {
        "exact": name == needle.text,
        "prefix": name.startswith(needle.text),
        "suffix": name.endswith(needle.text),
        "substring": needle.text in name,
    }[needle.kind]


def finds(needle: Needle, query: str) -> bool:
    (pattern,) = query_patterns([needle])
    return re2.search(pattern, query) is not None


@settings(max_examples=250, deadline=None)
@given(labels, kinds, st.data())
@example([b"a b"], "substring", None)
@example([b"it's"], "exact", None)
def test_a_part_of_a_name_is_found_in_it(name: list[bytes], kind: str, data: st.DataObject | None) -> None:
    shown = name_of_labels(name)
    start = data.draw(st.integers(0, len(shown) - 1)) if data and kind in ("suffix", "substring") else 0
    end = data.draw(st.integers(start + 1, len(shown))) if data and kind in ("prefix", "substring") else None
    needle = Needle(kind, shown[start:end])  # type: ignore[arg-type]
    assert fits(needle, shown)
    if "\\" in needle.text:
        assert query_patterns([needle]) == ()
    else:
        assert finds(needle, as_hubble_shows(name))


@settings(max_examples=250, deadline=None)
@given(labels, kinds, st.text("ab2031.k'@", min_size=1, max_size=3))
@example([b"a"], "suffix", "a.")
@example([], "exact", ".")
def test_nothing_else_is_found_where_the_pattern_says_it_all(name: list[bytes], kind: str, text: str) -> None:
    needle = Needle(kind, text)  # type: ignore[arg-type]
    found, wanted = finds(needle, as_hubble_shows(name)), fits(needle, name_of_labels(name))
    assert found == wanted if says_it_all(needle) else found or not wanted


@pytest.mark.parametrize(
    ("needles", "patterns"),
    [
        ([], []),
        ([Needle("exact", "example.com")], [r"^example\.com\.?$"]),
        ([Needle("suffix", ".example.com")], [r"\.example\.com\.?$"]),
        ([Needle("prefix", "a.")], [r"^a\."]),
        ([Needle("substring", "a@b")], [r"a\\?@b"]),
        ([Needle("substring", "(b")], [r"\\?\(b"]),
        ([Needle("substring", "2b")], ["(?:2| )b"]),
        ([Needle("substring", "03")], ["(?:03| )"]),
        ([Needle("substring", "03b")], ["03b"]),
        ([Needle("prefix", "2b")], ["^2b"]),
        ([Needle("exact", "b"), Needle("exact", "a")], [r"^a\.?$", r"^b\.?$"]),
        ([Needle("exact", "b"), Needle("exact", r"a\.b")], []),
        ([Needle("exact", "bücher")], []),
        ([Needle("exact", "a b")], []),
        ([Needle("exact", "")], []),
    ],
)
def test_patterns(needles: list[Needle], patterns: list[str]) -> None:
    assert list(query_patterns(needles)) == patterns


def test_many_names_are_not_asked_for() -> None:
    needles = [Needle("exact", f"n{number}") for number in range(MAX_PATTERNS + 1)]
    assert query_patterns(needles) == ()
    assert len(query_patterns(needles[1:])) == MAX_PATTERNS

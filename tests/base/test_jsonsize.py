"""The estimate beside what CPython really takes, as tracemalloc sees it."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from tests.attacks.bombs import MIB, filled, numbered, tailnet
from tsnet.base import jsonobject, jsonsize

SIZE = MIB // 8

DOCUMENTS = {
    "lists": filled(b'{"a":[', b"[],", b"1]}", SIZE),
    "lists in lists": filled(b'{"a":[', b"[[[[]]]],", b"1]}", SIZE),
    "lists of one": filled(b'{"a":[', b"[300],", b"1]}", SIZE),
    "objects": filled(b'{"a":[', b"{},", b"1]}", SIZE),
    "objects of one": filled(b'{"a":[', b'{"a":1},', b"1]}", SIZE),
    "objects of six": filled(b'{"a":[', b'{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1},', b"1]}", SIZE),
    "objects of eleven": filled(
        b'{"a":[', b'{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1},', b"1]}", SIZE
    ),
    "objects, spaced": filled(b'{"a":[', b'{ "a" : 1 } , ', b"1]}", SIZE),
    "numbers": filled(b'{"a":[', b"300,", b"1]}", SIZE),
    "long numbers": filled(b'{"a":[', b"12345678901234567890,", b"1]}", SIZE),
    "fractions": filled(b'{"a":[', b"1.5,", b"1]}", SIZE),
    "strings": filled(b'{"a":[', b'"ab",', b"1]}", SIZE),
    "strings that look like names": filled(b'{"a":[', b'"aa",":b",', b"1]}", SIZE),
    "names": numbered('"k%d":1', 10_000),
    "names with escapes": numbered('"\\tk%d":1', 10_000),
    "names with strings that look like names": numbered('"%d":":b"', 10_000),
    "objects with a name each": numbered('{"k%d":1}', 5_000, '{"a":[', "]}"),
    "objects with a name with escapes each": numbered('{"\\tk%d":300}', 5_000, '{"a":[', "]}"),
    "one wide string": filled(b'{"a":"\\ud83d\\ude00', b"a", b'"}', SIZE),
    "wide strings": filled(b'{"a":[', b'"\\ud83d\\ude00abcdefgh",', b"1]}", SIZE),
    "wide strings behind escaped quotes": filled(b'{"a":[', b'"a\\"\\"b\\ud83d\\ude00\\"abcdefgh",', b"1]}", SIZE),
    "Latin-1": filled(b'{"a":[', '"é",'.encode(), b"1]}", SIZE),
    "emoji": filled(b'{"a":[', '"😀",'.encode(), b"1]}", SIZE),
    "one emoji": filled('{"a":"😀'.encode(), b"a", b'"}', SIZE),
    "a tailnet": tailnet(100),
    "a tailnet, spaced": json.dumps(json.loads(tailnet(100))).encode(),
}


def taken(document: bytes) -> int:
    """The most that building it takes at once."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        jsonobject.parse(document, budget=1 << 40)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_takes_no_more_than_the_estimate(name: str) -> None:
    document, real = DOCUMENTS[name], taken(DOCUMENTS[name])
    rough = jsonsize.built_size(document, 1 << 40)
    assert rough >= 0.95 * real
    enough = next(size for size in (0.7 * rough, 0.9 * rough, rough - 1))
    assert jsonsize.built_size(document, int(enough)) >= 0.95 * real


def test_a_true_map_is_not_taken_for_much_more_than_it_is() -> None:
    """Its names are the same thirty again and again, which the parser keeps once."""
    document = tailnet(300)
    rough = jsonsize.built_size(document, 1 << 40)
    fine = jsonsize.built_size(document, rough - 1)
    assert taken(document) <= fine < 0.75 * rough
    assert fine < 1.6 * taken(document)


def test_what_is_certainly_too_much_is_not_looked_at_any_closer() -> None:
    document = DOCUMENTS["lists"]
    assert jsonsize.built_size(document, 1000) == jsonsize.built_size(document, 1 << 40)


def test_one_emoji_does_not_widen_all_other_strings() -> None:
    document = tailnet(50)
    marked = document.replace(b'"OS":"linux"', b'"OS":"\\ud83d\\ude00"', 1)
    assert jsonsize.built_size(marked, 1 << 40) - jsonsize.built_size(document, 1 << 40) < 200

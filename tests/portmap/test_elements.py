"""XML that expands, grows or nests comes to nothing."""

from __future__ import annotations

import contextlib
import random
import tracemalloc

import pytest

from tests.fuzzing import mutated
from tests.portmap.router import DESCRIPTION
from tsnet.base.malformed import MalformedError
from tsnet.portmap.elements import MAX_DEPTH, MAX_ELEMENTS, MAX_SIZE, MAX_TEXT, read_elements


def test_texts_by_the_names_that_lead_to_them() -> None:
    assert read_elements(b"<a><b>1</b>\n<u:c x='2'> 3 &amp; 4 </u:c></a>") == [
        (("a", "b"), "1"),
        (("a", "c"), "3 & 4"),
        (("a",), ""),
    ]


BOMBS = {
    "billion laughs": b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>',
    "quadratic": b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 10_000 + b'">]><a>' + b"&b;" * 10_000 + b"</a>",
    "a file": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "a URL": b'<!DOCTYPE a SYSTEM "http://192.0.2.1/x.dtd"><a/>',
    "a parameter": b'<!DOCTYPE a [<!ENTITY % b SYSTEM "http://192.0.2.1/x.dtd">%b;]><a/>',
    "no more than a type": b"<!DOCTYPE a><a/>",
    "an entity that nobody declares": b"<a>&b;</a>",
    "deep": b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1),
    "many": b"<a>" + b"<b/>" * MAX_ELEMENTS + b"</a>",
    "long": b"<a>" + b"x" * (MAX_TEXT + 1) + b"</a>",
    "long in pieces": b"<a>" + b"xxxxxxxx<b/>" * (MAX_TEXT // 8 + 1) + b"</a>",
    "large": b"<a>" + b" " * MAX_SIZE + b"</a>",
    "another encoding": b"<?xml version='1.0' encoding='utf-7'?><a/>",
    "an encoding that there is not": b"<?xml version='1.0' encoding='x-evil'?><a/>",
    "UTF-16 that is cut": "<a>x</a>".encode("utf-16")[:-1],
    "no XML": b"\0\1\2",
    "nothing": b"",
    "two roots": b"<a/><b/>",
    "unclosed": b"<a><b></a>",
}


@pytest.mark.parametrize("document", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_malformed(document: bytes) -> None:
    with pytest.raises(MalformedError):
        read_elements(document)


def test_a_bomb_takes_no_memory() -> None:
    attributes = b"<a " + b" ".join(b"x%d='%s'" % (n, b"y" * 50) for n in range(900)) + b"/>"
    tracemalloc.start()
    for document in [*BOMBS.values(), attributes]:
        with contextlib.suppress(MalformedError):
            read_elements(document)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20


def test_damaged_descriptions_never_raise_anything_else() -> None:
    chance = random.Random(7)
    for _ in range(1000):
        with contextlib.suppress(MalformedError):
            read_elements(mutated(DESCRIPTION.encode(), chance))

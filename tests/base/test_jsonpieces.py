"""What is read in pieces is what `json.loads` reads, wherever a window ends; and what it refuses is refused."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from tests.attacks.bombs import tailnet
from tsnet.base import jsonobject, jsonpieces
from tsnet.base.jsonpieces import Each, Members, parse_in_pieces
from tsnet.base.malformed import MalformedError
from tsnet.base.steps import finish

BUDGET = 64 << 20
WINDOWS = (1, 2, 3, 5, 8, 13, 64, 1 << 16)
TEXTS = [
    "",
    "a",
    "é",
    "日本",
    "😀",
    '"',
    "\\",
    "/",
    "\n\t\x00\x7f",
    "\ud83d",
    "\ude00",
    "\ud83d\ude00",
    "a" * 40,
    '",:{[',
]


def read(document: bytes, **plans: Any) -> dict[str, Any]:
    return finish(parse_in_pieces(document, plans, "it", budget=BUDGET))


def outcome(parse: Any, document: bytes) -> object:
    """As text, in which 1 is not 1.0, and the order of members counts."""
    try:
        return repr(parse(document))
    except MalformedError:
        return MalformedError


def value(chance: Random, depth: int = 4) -> Any:
    kind = chance.randrange(8 if depth else 6)
    if kind == 0:
        return chance.choice([None, True, False])
    if kind == 1:
        return chance.choice([0, -1, 10**30, 1.5, -2e-300, 1e300, float("inf"), -float("inf"), chance.getrandbits(40)])
    if kind < 6:
        return "".join(chance.choices(TEXTS, k=chance.randrange(4)))
    if kind == 6:
        return [value(chance, depth - 1) for _ in range(chance.randrange(6))]
    return {str(value(chance, 0)): value(chance, depth - 1) for _ in range(chance.randrange(6))}


def written(chance: Random) -> bytes:
    """An object, with the blanks, escapes and repeated names that a writer may put there."""
    members = [{str(value(chance, 0)): value(chance)} for _ in range(chance.randrange(1, 5))]
    texts = [
        json.dumps(member, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1]))[1:-1]
        for member in members
    ]
    text = "{" + chance.choice([",", " ,\r\n\t"]).join(texts + texts[: chance.randrange(2)]) + "}"
    return (chance.choice(["", " \n"]) + text + chance.choice(["", " \t\r\n "])).encode("utf-8", "surrogatepass")


def damaged(document: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(document))
    put = chance.choice(
        [b"", b",", b'"', b"\\", b"}", b"]", b"{", b"[", b":", b"1", b"e", b"-", b".", b"N", b"\xff", b"\x80"]
    )
    return document[:at] + put + document[at + chance.randrange(3) :]


@pytest.fixture(params=WINDOWS)
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(jsonpieces, "WINDOW", request.param)
    return int(request.param)


@pytest.mark.parametrize("seed", range(6))
def test_what_json_reads(seed: int, window: int) -> None:
    chance = Random(seed)
    for _ in range(60):
        document = written(chance)
        assert outcome(read, document) == outcome(jsonobject.parse, document) != MalformedError


@pytest.mark.parametrize("seed", range(6))
def test_what_json_refuses(seed: int, window: int) -> None:
    chance = Random(1000 + seed)
    for _ in range(120):
        document = damaged(written(chance), chance)
        assert outcome(read, document) == outcome(jsonobject.parse, document)


DOCUMENTS = [
    b'{"a":[1,2.5e+10,-0,"\\ud83d\\ude00",null,true,false,NaN,-Infinity,Infinity],"b":{"c":{"d":[[],{}]}},"a":1}',
    b'{"n":12345678901234567890,"f":1.000000000000000000000000001,"e":1E5,"x":[ ] , "y" : { } }',
    '{"é":"日本","😀":["\\u00e9\\n","\\ud83d"]}'.encode(),
    b"{}",
    b' { "a" : 1 } ',
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_cut_at_each_byte(document: bytes, window: int) -> None:
    for end in range(len(document)):
        assert outcome(read, document[:end]) == outcome(jsonobject.parse, document[:end])
    assert outcome(read, document) == outcome(jsonobject.parse, document) != MalformedError


@pytest.mark.parametrize(
    "document",
    [
        *(
            b"",
            b" ",
            b"[]",
            b"1",
            b'"a"',
            b"null",
            b'{"a":1}x',
            b'{"a":1}{}',
            b'{"a":1,}',
            b'{"a":[1,]}',
            b'{"a":[,1]}',
        ),
        *(
            b"{,}",
            b'{"a"}',
            b'{"a":}',
            b"{1:2}",
            b'{"a" 1}',
            b'{"a":1 "b":2}',
            b'{"a":[1 2]}',
            b'{"a":tru}',
            b'{"a":nan}',
        ),
        *(
            b'{"a":01}',
            b'{"a":1.}',
            b'{"a":.5}',
            b'{"a":+1}',
            b'{"a":1e}',
            b'{"a":"\n"}',
            b'{"a":"\\x"}',
            b'{"a":"\\u12"}',
        ),
        *(
            b"{'a':1}",
            b'{"a":"\xff"}',
            b'\xef\xbb\xbf{"a":1}',
            '{"a":1}'.encode("utf-16"),
            b'{"a":' + b"9" * 5000 + b"}",
        ),
    ],
)
def test_what_is_no_json_object(document: bytes, window: int) -> None:
    with pytest.raises(MalformedError):
        jsonobject.parse(document)
    with pytest.raises(MalformedError, match=r"^it is no"):
        read(document)


def test_a_whole_tailnet(window: int) -> None:
    document = tailnet(3 if window < 64 else 200)
    assert read(document) == json.loads(document)


@pytest.mark.parametrize(("begin", "end"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth(begin: bytes, end: bytes, window: int) -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + begin * levels + b"1" * (begin != b"[") + end * levels + b',"b":2}'

    inside = jsonobject.MAX_DEPTH - 1
    assert read(nested(inside))["b"] == 2
    for levels in (inside + 1, 3000):
        with pytest.raises(MalformedError, match="nested more than 64 deep"):
            read(nested(levels))


def test_elements_are_made_as_they_are_read(window: int) -> None:
    document = b'{"a":[1,[2],{"b":3}],"c":{"x":[4],"y":null,"z":{}},"d":[5],"a":[6]}'
    plans = {"a": Each(repr), "c": Members(Each(repr)), "d": Members(Each(repr)), "e": Each(repr)}
    assert read(document, **plans) == {"a": ["6"], "c": {"x": ["4"], "y": None, "z": {}}, "d": [5]}


def test_an_element_is_made_before_the_next_is_read() -> None:
    made: list[Any] = []
    with pytest.raises(MalformedError):
        read(b'{"a":[1,2,3,x]}', a=Each(made.append))
    assert made == [1, 2, 3]


def test_what_becomes_too_much_is_refused_before_it_is_built() -> None:
    made: list[Any] = []
    document = b'{"a":[' + b"[]," * 300_000 + b"1]}"
    with pytest.raises(MalformedError, match="it would take 41 MiB of memory, and may take 8 MiB"):
        finish(parse_in_pieces(document, {"a": Each(made.append)}, "it", budget=8 << 20))
    assert not made


def test_a_long_string_is_counted_as_a_whole() -> None:
    """One emoji makes four bytes of each of its characters, however far from it they stand."""
    document = b'{"a":"\\ud83d\\ude00' + b"a" * (3 << 20) + b'"}'
    with pytest.raises(MalformedError, match=r"it would take 1. MiB of memory, and may take 12 MiB"):
        finish(parse_in_pieces(document, {}, "it", budget=12 << 20))
    assert len(read(document)["a"]) == (3 << 20) + 1


def test_no_step_is_long() -> None:
    """Of 3,000 peers, which are 3.5 MB: a hundred steps and more."""
    document = tailnet(3000)
    steps = sum(1 for _ in parse_in_pieces(document, {"Peers": Each(len)}, "it", budget=BUDGET))
    assert steps > 3000 + len(document) // (1 << 16)

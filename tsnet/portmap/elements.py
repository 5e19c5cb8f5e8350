"""XML of a router, read into texts: nothing in it may expand, and everything is bounded.

    <a><b>1</b><c>2</c></a>   ->   (("a", "b"), "1"), (("a", "c"), "2"), (("a",), "")

| what there may be of               | bound                                             |
|------------------------------------|---------------------------------------------------|
| bytes                              | the caller's; MAX_SIZE                            |
| document types, entities           | none: the first one ends it                       |
| elements, and one inside the other | MAX_ELEMENTS, MAX_DEPTH                           |
| text of one element                | MAX_TEXT                                          |

A name's prefix is dropped: routers use any.

Source: XML 1.0; Expat's documentation for the attacks.
Not here: what the elements mean (`igd`, `soap`).
"""

from __future__ import annotations

from xml.parsers import expat

from tsnet.base.malformed import MalformedError

MAX_SIZE = 64 * 1024
MAX_ELEMENTS = 2048
MAX_DEPTH = 32
MAX_TEXT = 2048

Path = tuple[str, ...]


def read_elements(document: bytes) -> list[tuple[Path, str]]:
    """Every element in the order of their ends: the names that lead to it, and its own text. Raises MalformedError."""
    if len(document) > MAX_SIZE:
        raise MalformedError("XML that is too long")
    reader = _Reader()
    try:
        reader.parser.Parse(document, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # an unknown encoding is one of the latter two
        raise error if isinstance(error, MalformedError) else MalformedError("no XML") from None
    return reader.found


class _Reader:
    def __init__(self) -> None:
        self.found: list[tuple[Path, str]] = []
        self._path: list[str] = []
        self._texts: list[list[str]] = []
        self._sizes: list[int] = []
        self._elements = 0
        parser = self.parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        for name in ("StartDoctypeDecl", "EntityDecl", "UnparsedEntityDecl", "ExternalEntityRef", "SkippedEntity"):
            setattr(parser, f"{name}Handler", _refuse)

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS or len(self._path) >= MAX_DEPTH:
            raise MalformedError("XML with too many elements, or too deep")
        self._path.append(name.rpartition(":")[2])
        self._texts.append([])
        self._sizes.append(0)

    def _end(self, _name: str) -> None:
        self.found.append((tuple(self._path), "".join(self._texts.pop()).strip()))
        self._path.pop()
        self._sizes.pop()

    def _text(self, text: str) -> None:
        self._sizes[-1] += len(text)
        if self._sizes[-1] > MAX_TEXT:
            raise MalformedError("XML with too long a text")
        self._texts[-1].append(text)


def _refuse(*_: object) -> int:
    raise MalformedError("XML with a document type or an entity")

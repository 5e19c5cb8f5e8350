from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.edge.streams import Streams


@pytest.fixture
def streams() -> Iterator[Streams]:
    streams = Streams()
    yield streams
    streams.close()

"""The one error that bytes from the network may cause below the edge.

Every `decode`, `parse` and `open` of a lower room raises this and nothing else on bad input; the room's
`receive` catches it at its door and counts a drop by reason. It never reaches an application.
"""


class MalformedError(ValueError):
    """These bytes are not what their place in the protocol asks for."""

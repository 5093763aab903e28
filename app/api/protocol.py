"""HTTP as uvicorn speaks it, with one bound that it does not have: on the bytes before a request's body."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a request whose path and headers do not end.

    The parser joins the pieces of a header as they come, so that one without an end takes ever more memory and time.
    What came in one piece with the request's first byte is not counted: it may hold the body of an earlier request.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes: int | None = None  # None: no head has begun that has not ended
        self._begun_now = False

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._begun_now = False
        super().data_received(data)
        if self._head_bytes is None or self._begun_now:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.logger.warning("a request's headers are too long")
            self.send_400_response("The request's headers are too long.")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._head_bytes = 0
        self._begun_now = True

    def on_headers_complete(self) -> None:
        """It has ended."""
        self.end_of_head()
        super().on_headers_complete()

    def end_of_head(self) -> None:
        """Stop counting: what follows is a body, which others bound."""
        self._head_bytes = None

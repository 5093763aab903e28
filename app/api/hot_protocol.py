"""The protocol's own way for the two hot routes: from the parsed bytes straight to app/api/hot.py and back.

An ASGI application costs a request a task, an event and a dozen layers. What is not plainly a hot request (another
method or path, a query, an escape, HTTP/1.0, a pipeline, a client that does not read) goes the ordinary way, where the
same routes exist.
"""

import time
from typing import Any, ClassVar, cast

from fastapi import FastAPI

from app.api.body import LEFT
from app.api.envelope import REQUEST_ID, announces_more
from app.api.hot import Headers, Hot
from app.api.hot_cycle import HotCycle, head_of
from app.api.known_heads import HOT_PATH, KnownHead, KnownHeads, Route
from app.api.protocol import TOO_SLOW, BoundedProtocol
from app.api.request_ids import RequestIds
from app.errors import InvalidInput, NotReady, RequestTimeout, ServiceError

_CLOSE_ENOUGH_SECONDS = 0.001
_BUSY = float("inf")
_ROUTES: dict[bytes, Route] = {b"rank": "rank", b"recommend": "recommend"}


class HotProtocol(BoundedProtocol):
    """HTTP with a short way for hot requests."""

    _heads: ClassVar[dict[object, object]] = {}

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        application = cast(FastAPI, self.config.app)
        self.hot: Hot = application.state.hot
        self._known_heads: KnownHeads = application.state.known_heads
        self.request_ids: RequestIds = application.state.request_ids
        self._max_body_bytes: int = application.state.service.settings.max_body_bytes
        self._read_at = 0.0
        self._rests_since = _BUSY

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        self._read_at = time.perf_counter()
        if not self._is_between_requests():
            self._take(data)
            return
        known = self._known_heads.find(data)
        if known is not None:
            self._answer_known(known, data)
            return
        before = cast(object, self.cycle)
        self._take(data)
        cycle: object = self.cycle
        if cycle is not before and isinstance(cycle, HotCycle) and cycle.is_whole_and_usual:
            self._known_heads.learn(data, cycle.model, cycle.route, cycle.body_bytes)

    def on_headers_complete(self) -> None:
        """The head is there: which way does the request go?"""
        matched = HOT_PATH.fullmatch(self.url)
        if matched is None or not self._is_plain() or self.is_ending:
            super().on_headers_complete()
            return
        self.end_of_head()
        self.check_head()
        model, route = matched.groups()
        given: str | None = None
        length = b"0"
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name == b"x-request-id" and given is None:  # the first one is meant, as on the ordinary way
                given = value.decode("latin-1")
        request_id = given if given and REQUEST_ID.fullmatch(given) else ""
        cycle = HotCycle(
            self, model.decode(), _ROUTES[route], request_id, keeps_alive=self.parser.should_keep_alive()
        )
        self.cycle = cast(Any, cycle)
        self.end_with_newest()
        if announces_more(length.decode("latin-1"), self._max_body_bytes):
            cycle.refuse_large(self._max_body_bytes)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        cycle: object = self.cycle
        if not isinstance(cycle, HotCycle):
            super().on_body(body)
            return
        self.body_comes = True
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > self._max_body_bytes:
            cycle.refuse_large(self._max_body_bytes)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._asks_to_upgrade:
            return
        self._incomplete_since = None
        cycle: object = self.cycle
        if not isinstance(cycle, HotCycle):
            super().on_message_complete()
        elif not cycle.response_complete:
            cycle.begin(self._read_at)

    def head(self, status: int, headers: Headers) -> bytes:
        """The head of an answer that leaves the connection open, made once for each second's date."""
        defaults = self.server_state.default_headers
        kept = HotProtocol._heads
        if kept.get(None) is not defaults:  # uvicorn makes a new list every second
            kept.clear()
            kept[None] = defaults
        which = status, *headers
        found = kept.get(which)
        if found is None:
            found = kept[which] = head_of(status, [*defaults, *headers])
        return cast(bytes, found)

    def on_response_complete(self) -> None:
        """The connection is free. One timer for many requests closes it when it has rested for long."""
        if self.pipeline or self._refusal or self.is_ending:
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._rest()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it has rested for so long."""
        self.timeout_keep_alive_task = None
        if self._rests_since == _BUSY:
            return  # when its request is answered, the timer is set again
        left = self._rests_since + self.timeout_keep_alive - self.loop.time()
        if left > _CLOSE_ENOUGH_SECONDS:
            self._look_again_in(left)
        else:
            super().timeout_keep_alive_handler()

    def end(self) -> None:
        """Tell a hot request that is still here that the service ends."""
        cycle: object = self.cycle
        if isinstance(cycle, HotCycle) and not cycle.response_complete:
            cycle.refuse(NotReady("the service is ending"))

    def end_incomplete(self) -> None:
        """Tell a hot request whose body does not come."""
        cycle: object = self.cycle
        if (
            isinstance(cycle, HotCycle)
            and cycle.more_body
            and not (cycle.response_complete or self.is_ending)
        ):
            cycle.refuse(RequestTimeout(TOO_SLOW))
        super().end_incomplete()

    def tell(self, error: ServiceError) -> None:
        """Answer with an error; a hot request that is still coming is the one that it answers, and counted so."""
        cycle: object = self.cycle
        if self.is_ending or not isinstance(cycle, HotCycle) or cycle.response_complete:
            super().tell(error)
            return
        cycle.keep_alive = False
        cycle.refuse(error)

    def eof_received(self) -> bool:  # type: ignore[override]  # which returns nothing, and so always closes
        """The client sends no more. One that waits for a large request, and reads, is still answered."""
        cycle: object = self.cycle
        if not isinstance(cycle, HotCycle) or cycle.presence is None or cycle.response_complete:
            return False
        cycle.keep_alive = False
        cycle.presence.is_doubtful()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, and with it the timer; a request that was still coming is counted."""
        cycle: object = self.cycle
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        if isinstance(cycle, HotCycle) and cycle.more_body and not cycle.response_complete:
            self.hot.refuse(cycle.model, time.perf_counter(), InvalidInput(LEFT))

    def _unset_keepalive_if_required(self) -> None:
        """Called for every piece of data: what has come is seen when the timer ends."""
        self._rests_since = _BUSY

    def _take(self, data: bytes) -> None:
        """Parse this. No answer follows, to rest from, where it ends a request that was answered before, or a line."""
        was_coming, rested_since = self._incomplete_since is not None, self._rests_since
        super().data_received(data)
        if self._rests_since != _BUSY or not self._is_answered():
            return
        self._rest()
        if not was_coming:  # the end of a line, which begins no request
            self._rests_since = min(rested_since, self._rests_since)

    def _is_answered(self) -> bool:
        """Whether all requests are, and none is coming."""
        return (
            self.cycle is not None
            and self.cycle.response_complete
            and self._incomplete_since is None
            and not (self.pipeline or self.is_ending)
        )

    def _rest(self) -> None:
        self._rests_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again_in(self.timeout_keep_alive)

    def _look_again_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _is_between_requests(self) -> bool:
        """Whether the next byte begins a request, and nothing is left of those before."""
        cycle = self.cycle
        return (
            (cycle is None or (cycle.response_complete and not cycle.more_body))
            and self._head_bytes is None
            and not self.pipeline
            and not self.flow.write_paused
            and not self.is_ending
        )

    def _answer_known(self, known: KnownHead, data: bytes) -> None:
        """What the parser would lead to for this head."""
        self._rests_since = _BUSY
        self._incomplete_since = self._unread_since = None
        cycle = HotCycle(self, known.model, known.route, "", keeps_alive=not self.service_ends)
        cycle.body = data[known.body_at :]
        self.cycle = cast(Any, cycle)
        cycle.begin(self._read_at)

    def _is_plain(self) -> bool:
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self.root_path
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
        )

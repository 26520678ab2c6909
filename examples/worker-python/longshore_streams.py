"""Two-way streams that outlive the breaks of their connection, and the loop that they and the worker run on."""

import collections
import functools
import heapq
import itertools
import logging
import queue
import random
import threading
import time

import grpc

from standard import standard_pb2_grpc

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0

CHANNEL_OPTIONS = [
    # A server whose machine is gone is noticed within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A new channel connects at once, whatever pause after a failure an old one is in.
    ("grpc.use_local_subchannel_pool", 1),
]


class Loop:
    """Does what other threads and timers ask for, one after the other, on the thread that runs it."""

    def __init__(self):
        # Its put() may interrupt its put(): a signal handler can call.
        self._calls = queue.SimpleQueue()
        self._timers = []
        self._order = itertools.count()

    def call(self, function, *arguments):
        self._calls.put(functools.partial(function, *arguments))

    def later(self, seconds, function, *arguments):
        timer = (time.monotonic() + seconds, next(self._order), functools.partial(function, *arguments))
        heapq.heappush(self._timers, timer)

    def run(self, until, seconds=float("inf")):
        """Returns when `until()` holds, or after so many seconds."""
        end = time.monotonic() + seconds
        while not until():
            now = time.monotonic()
            if now >= end:
                return
            if self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
                continue
            wake = min(end, self._timers[0][0] if self._timers else end)
            try:
                self._calls.get(timeout=None if wake == float("inf") else wake - now)()
            except queue.Empty:
                pass


class LastingStream:
    """A two-way stream that is opened again when it breaks, ever more slowly while that does not help."""

    def __init__(self, name, loop, address, method, metadata, opened, message, broken=lambda: None):
        self._name = name
        self._loop = loop
        self._address = address
        self._method = method
        self._metadata = metadata
        self._on_opened = opened
        self._on_message = message
        self._on_broken = broken
        self._channel = None
        self._requests = None
        self._pause = FIRST_PAUSE_SECONDS
        self._opened_at = 0.0
        self._ending = False
        #: It will not be opened again.
        self.ended = False
        #: What the server refused, as it would each time.
        self.refusal = ""

    def open(self):
        if self._ending:
            return
        self._opened_at = time.monotonic()
        self._requests = queue.SimpleQueue()
        # A channel of its own: one that has failed tries again when it thinks fit, and the pauses are ours.
        self._channel = grpc.insecure_channel(self._address, CHANNEL_OPTIONS)
        method = getattr(standard_pb2_grpc.QueuesStub(self._channel), self._method)
        call = method(iter(self._requests.get, None), metadata=self._metadata)
        threading.Thread(target=self._read, args=(call,), daemon=True).start()
        self._on_opened()

    def write(self, request):
        """Sends now, or while there is no stream not at all: `opened` sends what counts."""
        if self._requests:
            self._requests.put(request)

    def end(self):
        """Sends no more; `ended` when the server has ended the stream too."""
        self._ending = True
        if self._requests:
            self._requests.put(None)
        else:
            self.ended = True

    def cancel(self):
        """Ends the stream whatever the server does."""
        self._ending = True
        if self._requests:
            self._channel.close()

    def _read(self, call):
        """On a thread of its own."""
        try:
            for message in call:
                self._loop.call(self._on_message, message)
        except grpc.RpcError:
            pass  # The status says it all.
        self._loop.call(self._closed, call.code(), call.details())

    def _closed(self, code, details):
        # For the thread of gRPC that waits for requests.
        self._requests.put(None)
        self._requests = None
        self._channel.close()
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            self.refusal = details
            self._ending = True
        if self._ending:
            self.ended = True
            return
        self._on_broken()
        if time.monotonic() - self._opened_at > LONGEST_PAUSE_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS
        wait = jittered(self._pause)
        why = details or "the server ended the stream"
        logging.getLogger("longshore").warning("%s: %s; again in %d ms", self._name, why, wait * 1000)
        self._loop.later(wait, self.open)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)


class Reports:
    """The report stream: what is unanswered when it breaks is sent again."""

    def __init__(self, loop, address, metadata):
        # Answers come in the order of the reports.
        self._unanswered = collections.deque()
        self.stream = LastingStream(
            "reporting", loop, address, "ReportTaskResult", metadata, opened=self._send_again, message=self._answered
        )

    def send(self, report, run=None, answered=lambda state, message: None):
        """Calls answered(state, message) once, however many streams that takes."""
        self._unanswered.append((report, run, answered))
        self.stream.write(report)

    def _answered(self, answer):
        _, _, answered = self._unanswered.popleft()
        answered(answer.State, answer.Message)

    def _send_again(self):
        """A second report of the same result is answered like the first. Of a lost task none is sent: it may be here again."""
        unanswered, self._unanswered = self._unanswered, collections.deque()
        for report, run, answered in unanswered:
            if run and run.lost:
                answered(400, "the task was lost")
            else:
                self.send(report, run, answered)


def jittered(seconds):
    """So that not all the workers of a node that was away come back at the same moment."""
    return seconds * random.uniform(0.5, 1)

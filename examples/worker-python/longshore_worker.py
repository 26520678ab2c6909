"""A worker for Longshore's task queue: receives tasks on one stream, reports on another, renews the leases of what it works on,
and outlives every break of either stream. Copy it; generate.sh makes the modules of the contract that it imports.

Handlers run on threads of their own. Everything else happens on the thread that calls run(), so nothing here needs a lock:
other threads hand calls to its loop.
"""

import collections
import functools
import heapq
import itertools
import logging
import os
import queue
import random
import socket
import threading
import time
import uuid

import grpc

from standard import standard_pb2, standard_pb2_grpc

_logger = logging.getLogger("longshore")

# ReportTaskResultRequest.State.
SUCCESS, FAILURE, WAITING, PROCEEDING = 1, 2, 5, 6

# The server refuses what is longer.
MAX_TEXT_BYTES = 512 * 1024
MAX_LINE_BYTES = 4 * 1024
MAX_LINES_A_REPORT = 100
# A task's log keeps no more on the server either.
MAX_LINES = 1_000

TICK_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 10.0
# After an abort, what handlers have to end, and reports to be answered.
GRACE_SECONDS = 2.0

CHANNEL_OPTIONS = [
    # A server whose machine is gone is noticed within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The pauses are ours: when a stream is opened again, the connection is to be tried too.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class NonRetryableError(Exception):
    """Raised by a handler: the task fails for good, whatever retries it has left."""


class Control:
    """What a handler has beside its task."""

    def __init__(self):
        #: Set when the task is not this worker's any more, and when the worker must stop: a handler that raises then is right.
        self.cancelled = threading.Event()
        #: Why it is set.
        self.reason = ""
        self._progress = (0, "")
        self._lines = collections.deque(maxlen=MAX_LINES)
        self._news = False

    def progress(self, percent, detail=""):
        """Says how far the task is: percent, and what else is worth telling. Sent within a second."""
        self._progress = (max(0, min(100, int(percent))), _shortened(detail, MAX_TEXT_BYTES))
        self._news = True

    def log(self, line):
        """Adds a line to the task's log. Sent within a second; after a break of the connection a line may be there twice."""
        self._lines.append(_shortened(line, MAX_LINE_BYTES))
        self._news = True


class Worker:
    """Works on the tasks of one channel, from run() until stop().

    handler(task, control) works on a standard.Task and returns its output. What it raises ends the attempt as a failure. The
    same task may come again, here or elsewhere, after a break: what it does must bear being done twice.
    credits: tasks at once. lease_seconds: how long a task stays with a worker that is not heard of, 1 to 43,200.
    stop_seconds: how long running tasks may take to finish once the worker is told to stop.
    """

    def __init__(self, address, channel, handler, credits=8, lease_seconds=60, stop_seconds=20):
        settings = {"credits": credits, "lease_seconds": lease_seconds, "stop_seconds": stop_seconds}
        for name, value in settings.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}: must be a whole number above 0")
        self._handler = handler
        self._credits = credits
        self._lease_seconds = lease_seconds
        self._stop_seconds = stop_seconds
        self._credit = standard_pb2.ReceiveQueueByChannelRequest(
            Channel=channel, LeaseSeconds=lease_seconds, Notices=True
        )
        self._loop = _Loop()
        # Each has one of the credits, until its end is reported.
        self._runs = set()
        self._told = False
        self._stopping = False

        self._channel = grpc.insecure_channel(address, CHANNEL_OPTIONS)
        stub = standard_pb2_grpc.QueuesStub(self._channel)
        # Nobody else's: a report that names another worker than the one that has the task is refused.
        worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        metadata = (("x-worker-id", worker_id),)
        self._reports = _Reports(self._loop, functools.partial(stub.ReportTaskResult, metadata=metadata))
        self._receiving = _LastingStream(
            "receiving",
            self._loop,
            functools.partial(stub.ReceiveQueueByChannel, metadata=metadata),
            opened=self._ask,
            message=self._received,
            broken=self._ask_whose,
        )

    def run(self):
        """Works until stop() is called; raises ValueError where the server refuses the channel or the lease."""
        self._receiving.open()
        self._reports.stream.open()
        try:
            self._loop.run(lambda: self._told or self._receiving.ended or self._reports.stream.ended)
        finally:
            self._finish()
        refusal = self._receiving.refusal or self._reports.stream.refusal
        if refusal:
            raise ValueError(refusal)

    def stop(self):
        """Takes no more tasks, lets those in hand finish within stop_seconds, and gives back the rest.

        Can be called from any thread and from a signal handler.
        """
        self._loop.call(self._tell)

    def _tell(self):
        self._told = True

    def _ask(self):
        for _ in range(self._credits - len(self._runs)):
            self._receiving.write(self._credit)

    def _ask_whose(self):
        """The server may have given the tasks to others: the answers to the renewals say which are still ours."""
        for run in self._runs:
            self._renew(run)

    def _received(self, answer):
        for task_id in answer.Stopped:
            self._lost(task_id, "it was cancelled, or its time is over")
        if not answer.HasField("Tasks"):
            return
        task = answer.Tasks
        if self._stopping:
            self._reports.send(_report(task.ID, WAITING))
            return
        self._lost(task.ID, "it was given back, and has come again")
        run = _Run(task, self._lease_seconds)
        self._runs.add(run)
        self._tick(run)
        # A daemon: a handler that does not end does not keep the process.
        threading.Thread(target=self._work, args=(run,), daemon=True).start()

    def _lost(self, task_id, why):
        for run in self._runs:
            if run.task.ID == task_id:
                run.lose(why)

    def _work(self, run):
        """On the handler's own thread."""
        try:
            output = self._handler(run.task, run.control)
            if not isinstance(output, str):
                raise NonRetryableError(f"the handler must return a str, not {type(output).__name__}")
            output = output.encode("utf-8", "replace")
            if len(output) > MAX_TEXT_BYTES:
                raise NonRetryableError(f"the output of {len(output)} bytes is too long")
            result = _report(run.task.ID, SUCCESS, Output=output.decode())
        except BaseException as error:  # SystemExit too: it would end this thread, and nothing else.
            text = _shortened(str(error) or type(error).__name__, MAX_TEXT_BYTES)
            final = isinstance(error, NonRetryableError)
            result = _report(run.task.ID, FAILURE, Output=text, NonRetryable=final)
        self._loop.call(self._ended, run, result)

    def _ended(self, run, result):
        """The handler has ended, or is not waited for."""
        if not run.working:
            return
        run.working = False
        if run.lost:
            self._free(run)
            return
        if run.stopping and result.State == FAILURE:
            result = _report(run.task.ID, WAITING)
        while len(run.control._lines) > MAX_LINES_A_REPORT:
            self._reports.send(run.renewal(), run)
        result.Logs.extend(run.take_lines())
        self._report_end(run, result, FIRST_PAUSE_SECONDS)

    def _report_end(self, run, result, pause):
        def answered(state, message):
            if state >= 500 and not run.lost:
                again = min(pause * 2, LONGEST_PAUSE_SECONDS)
                self._loop.later(_jittered(pause), self._report_end, run, result, again)
                return
            if state != 200 and not run.lost:
                _logger.warning("task %s: its end was refused: %s", run.task.ID, message)
            self._free(run)

        self._reports.send(result, run, answered)

    def _free(self, run):
        self._runs.discard(run)
        if not self._stopping:
            self._receiving.write(self._credit)

    def _tick(self, run):
        if not run.working or run.lost:
            return
        age = time.monotonic() - run.renewed_at
        if age > self._lease_seconds:
            run.lose("its lease has run out, for the server could not be reached")
            return
        if run.control._news or age > self._lease_seconds / 3:
            self._renew(run)
        self._loop.later(min(TICK_SECONDS, self._lease_seconds / 3), self._tick, run)

    def _renew(self, run):
        """Renews the lease, and tells the progress and the log with it."""
        if run.renewing or not run.working:
            return
        run.renewing = True
        run.control._news = False
        sent_at = time.monotonic()

        def answered(state, message):
            run.renewing = False
            if state == 200:
                run.renewed_at = sent_at
            elif state < 500:
                run.lose(message)

        self._reports.send(run.renewal(), run, answered)

    def _finish(self):
        self._stopping = True
        self._receiving.end()
        self._loop.run(lambda: not self._runs, self._stop_seconds)
        for run in self._runs:
            run.stop()
        self._loop.run(lambda: not self._runs, GRACE_SECONDS)
        for run in list(self._runs):
            self._ended(run, _report(run.task.ID, WAITING))
        # The server ends the receive stream when it has heard of all its tasks.
        self._loop.run(lambda: not self._runs and self._receiving.ended, GRACE_SECONDS)
        self._reports.stream.end()
        self._loop.run(lambda: self._reports.stream.ended, GRACE_SECONDS)
        self._channel.close()


class _Run:
    """A task in hand: its handler's control, and its lease."""

    def __init__(self, task, lease_seconds):
        self.task = task
        self.control = Control()
        self.working = True
        self.lost = False
        self.stopping = False
        self.renewing = False
        self.renewed_at = time.monotonic()

    def lose(self, why):
        """The task is not this worker's any more: nothing is reported."""
        self.lost = True
        self._cancel(why)

    def stop(self):
        """The handler is to end; a task that it does not complete is given back."""
        self.stopping = True
        self._cancel("the worker stops")

    def _cancel(self, why):
        if self.working and not self.control.cancelled.is_set():
            self.control.reason = why
            self.control.cancelled.set()

    def renewal(self):
        percent, detail = self.control._progress
        return _report(self.task.ID, PROCEEDING, Output=detail, Progress=percent, Logs=self.take_lines())

    def take_lines(self):
        lines = self.control._lines
        return [lines.popleft() for _ in range(min(len(lines), MAX_LINES_A_REPORT))]


class _Reports:
    """The report stream: what is unanswered when it breaks is sent again."""

    def __init__(self, loop, method):
        # Answers come in the order of the reports.
        self._unanswered = collections.deque()
        self.stream = _LastingStream("reporting", loop, method, opened=self._send_again, message=self._answered)

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


class _LastingStream:
    """A two-way stream that is opened again when it breaks, ever more slowly while that does not help."""

    def __init__(self, name, loop, method, opened, message, broken=lambda: None):
        self._name = name
        self._loop = loop
        self._method = method
        self._on_opened = opened
        self._on_message = message
        self._on_broken = broken
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
        call = self._method(iter(self._requests.get, None))
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
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            self.refusal = details
            self._ending = True
        if self._ending:
            self.ended = True
            return
        self._on_broken()
        if time.monotonic() - self._opened_at > LONGEST_PAUSE_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS
        wait = _jittered(self._pause)
        why = details or "the server ended the stream"
        _logger.warning("%s: %s; again in %d ms", self._name, why, wait * 1000)
        self._loop.later(wait, self.open)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)


class _Loop:
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


def _report(task_id, state, **fields):
    return standard_pb2.ReportTaskResultRequest(ID=task_id, State=state, **fields)


def _jittered(seconds):
    """So that not all the workers of a node that was away come back at the same moment."""
    return seconds * random.uniform(0.5, 1)


def _shortened(text, limit):
    """The text's beginning, in at most so many bytes of UTF-8."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")

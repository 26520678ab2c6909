"""A worker for Longshore's task queue: receives tasks on one stream, reports on another, renews the leases of what it works on,
and outlives every break of either stream.

Handlers run on threads of their own. Everything else happens on the thread that calls run(), so nothing here needs a lock:
other threads hand calls to its loop.
"""

import collections
import logging
import os
import socket
import threading
import time
import uuid

from longshore_streams import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LastingStream, Loop, Reports, jittered
from standard import standard_pb2

_logger = logging.getLogger("longshore")

# ReportTaskResultRequest.State.
SUCCESS, FAILURE, WAITING, PROCEEDING = 1, 2, 5, 6

# The server refuses what is longer.
MAX_TEXT_BYTES = 512 * 1024
MAX_LINE_BYTES = 4 * 1024
MAX_LINES_A_REPORT = 100
# A task's log keeps no more on the server either.
MAX_LINES = 1_000

# Progress and log lines are sent at most this often.
TICK_SECONDS = 1.0
# After an abort, what handlers have to end, and reports to be answered.
GRACE_SECONDS = 2.0


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
        self._loop = Loop()
        # Each has one of the credits, until its end is reported.
        self._runs = set()
        self._told = False
        self._stopping = False

        # Nobody else's: a report that names another worker than the one that has the task is refused.
        worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        metadata = (("x-worker-id", worker_id),)
        self._reports = Reports(self._loop, address, metadata)
        self._receiving = LastingStream(
            "receiving",
            self._loop,
            address,
            "ReceiveQueueByChannel",
            metadata,
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
                self._loop.later(jittered(pause), self._report_end, run, result, again)
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
        self._receiving.cancel()
        self._reports.stream.cancel()


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


def _report(task_id, state, **fields):
    return standard_pb2.ReportTaskResultRequest(ID=task_id, State=state, **fields)


def _shortened(text, limit):
    """The text's beginning, in at most so many bytes of UTF-8."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")

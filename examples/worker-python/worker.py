"""A worker to begin with. The Input of its tasks is JSON, {"text": "hello", "seconds": 3, "fail": "why"}: it takes that long,
then fails, or answers the text in capitals.
"""

import json
import logging
import os
import signal

from longshore_worker import NonRetryableError, Worker


class Stopped(Exception):
    pass


def handle(task, control):
    logging.info("task %s: begun", task.ID)
    order = read(task.Input)
    seconds = order.get("seconds", 0)
    worked = 0
    while worked < seconds:
        if control.cancelled.wait(min(seconds - worked, 1)):
            logging.info("task %s: stopped: %s", task.ID, control.reason)
            raise Stopped(control.reason)
        worked = min(worked + 1, seconds)
        control.progress(worked / seconds * 100, f"{worked} of {seconds} s")
        control.log(f"second {worked}")
    if "fail" in order:
        raise RuntimeError(order["fail"])
    return order.get("text", "").upper()


def read(text):
    try:
        return json.loads(text)
    except ValueError as error:
        # It will not be better the next time.
        raise NonRetryableError(f"Input: {error}") from error


def main():
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    worker = Worker(
        address=os.environ.get("LONGSHORE_ADDRESS") or "127.0.0.1:50051",
        channel=os.environ.get("CHANNEL") or "demo",
        handler=handle,
        credits=int(os.environ.get("CREDITS") or 8),
        lease_seconds=int(os.environ.get("LEASE_SECONDS") or 60),
        stop_seconds=int(os.environ.get("STOP_SECONDS") or 20),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    worker.run()


if __name__ == "__main__":
    main()

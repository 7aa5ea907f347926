"""Signals: what ends a training waits for the end of its step, so that the checkpoint holds whole steps."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn


def stop(number: int) -> NoReturn:
    """End as a program does on that signal: KeyboardInterrupt for SIGINT, exit status 143 for SIGTERM."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


@contextlib.contextmanager
def handled(handler: Callable, *numbers: int) -> Iterator[None]:
    """Inside, the handler is called on these signals; it does nothing outside the main thread, which no signal reaches."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def terminable() -> contextlib.AbstractContextManager:
    """Inside, SIGTERM, which schedulers send, is raised as an exception like Ctrl-C: what is open is closed."""
    return handled(lambda number, _: stop(number), signal.SIGTERM)


@contextlib.contextmanager
def kept_back() -> Iterator[Callable[[], int]]:
    """Inside, SIGINT and SIGTERM wait; yields a function that says which came, or 0. A second Ctrl-C ends at once."""
    came = []

    def note(number: int, _) -> None:
        if number == signal.SIGINT and number in came:
            stop(number)
        came.append(number)

    with handled(note, signal.SIGINT, signal.SIGTERM):
        yield lambda: came[0] if came else 0

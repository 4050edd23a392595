"""SIGINT and SIGTERM end a command in seconds, from its start.

Python runs a handler only between two of its own instructions, so C++ code can delay it for minutes. An import may turn
KeyboardInterrupt into another error, and a callback of a weak reference loses it. So a thread waits for signals too.
"""

import os
import signal
import socket
import sys
import threading
from types import TracebackType

STOP_SECONDS = 5  # that a command has to end by itself
SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = 130  # the exit code of a command that a signal ended


class Stop:
    """A block that SIGINT and SIGTERM end. Each raises KeyboardInterrupt in it. `requested` says whether one has come.

    If the block does not end in STOP_SECONDS, the process prints `line` and ends with exit code STOPPED. After `let_end` the
    block has as much time as it needs. Only the main thread gets signals. In another one, this does nothing.
    """

    def __init__(self, line: str) -> None:
        self.line, self.requested, self.patient, self.over = line, False, False, threading.Event()

    def __enter__(self) -> "Stop":
        self.is_main = threading.current_thread() is threading.main_thread()
        if self.is_main:
            self.reader, self.writer = socket.socketpair()
            self.writer.setblocking(False)
            self.wakeup = signal.set_wakeup_fd(self.writer.fileno(), warn_on_full_buffer=False)
            self.before = {number: signal.getsignal(number) for number in SIGNALS}
            for number, handler in self.before.items():
                if handler != signal.SIG_IGN:  # nohup, and a script's background command
                    signal.signal(number, self.interrupt)
            self.say_unraisable, sys.unraisablehook = sys.unraisablehook, self.unraisable
            threading.Thread(target=self.watch, daemon=True).start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.over.set()
        if self.is_main:
            signal.set_wakeup_fd(self.wakeup)
            sys.unraisablehook = self.say_unraisable
            for number, handler in self.before.items():
                signal.signal(number, handler)
            self.writer.close()

    def let_end(self) -> None:
        """From here the block ends by itself after a signal, and needs its time for that."""
        self.patient = True

    def interrupt(self, number: int, frame: object) -> None:
        """The handler of both signals."""
        self.requested = True
        raise KeyboardInterrupt

    def unraisable(self, lost: "sys.UnraisableHookArgs") -> None:
        """The hook for errors that Python can only print. An interrupt is not printed, because `watch` has its signal."""
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            self.say_unraisable(lost)

    def watch(self) -> None:
        """Ends the process if the block does not end after a signal."""
        while data := self.reader.recv(64):
            if self.patient or not set(SIGNALS).intersection(data):
                continue
            self.requested = True
            if not self.over.wait(STOP_SECONDS) and not self.patient:
                print(self.line, flush=True)
                os._exit(STOPPED)

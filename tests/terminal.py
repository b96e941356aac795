"""A command on its own terminal, as a user sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import wait_until


class Terminal:
    """`python -m rompy_hydra ARGUMENTS`, or another program, on a pseudo terminal of 120 columns."""

    def __init__(
        self,
        arguments: Sequence[str],
        directory: Path,
        program: Sequence[str] = (sys.executable, "-m", "rompy_hydra"),
    ) -> None:
        self.pid, self._end = pty.fork()
        if not self.pid:
            os.chdir(directory)
            os.environ["TERM"] = "xterm-256color"
            os.execvp(program[0], [*program, *arguments])
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self._bytes = b""
        self._open = True

    @property
    def screen(self) -> str:
        """All output so far, without escape sequences."""
        while self._open and select.select([self._end], [], [], 0)[0]:
            try:
                found = os.read(self._end, 65536)
            except OSError:  # the other end is closed
                break
            if not found:
                break
            self._bytes += found
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._bytes.decode(errors="replace"))

    @property
    def raw(self) -> str:
        """All output that `screen` has read so far, with escape sequences."""
        return self._bytes.decode(errors="replace")

    def shows(self, text: str) -> None:
        """Wait until a text is shown."""
        wait_until(lambda: text in self.screen)

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def wait(self) -> int:
        """Wait for the command to finish, and return its exit code."""

        def ended() -> tuple[int] | None:
            # A process blocks while the terminal's buffer is full.
            _ = self.screen
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return (os.waitstatus_to_exitcode(status),) if pid else None

        (code,) = wait_until(ended)
        _ = self.screen
        self._open = False
        os.close(self._end)
        return code

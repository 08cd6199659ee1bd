"""Run a command that ends when its standard input does: nothing goes on working for a build that was killed."""

import os
import signal
import subprocess
import sys
import threading


def _end_with_input():
    while os.read(sys.stdin.fileno(), 1):  # until whoever holds the other end is gone
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    running = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_input, daemon=True).start()
    sys.exit(running.wait())

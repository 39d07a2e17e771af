"""Standing beside a running box: its output is kept up to the limit, and it is ended where it goes too far."""

import os
import selectors
import subprocess
import time

from fusebench.evaluate.sandbox.backend import Running
from fusebench.evaluate.sandbox.box import Limits


def watch(running: Running, limits: Limits, began: float) -> tuple[str, str, str]:
    """Return why we killed the tree (or nothing), stdout and stderr, once it is gone."""
    process = running.process
    assert process.stdout is not None and process.stderr is not None
    cap, stop_at = limits.output << 10, limits.output << 14
    kept = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    seen = dict.fromkeys(kept, 0)
    killed = ""
    with selectors.DefaultSelector() as selector:
        for descriptor in kept:
            selector.register(descriptor, selectors.EVENT_READ)
        open_streams, next_look = len(kept), began + 0.3
        while open_streams:
            now = time.monotonic()
            if now - began > limits.wall:
                killed = killed or "wall"
            elif now > next_look:
                next_look = now + 0.1
                if running.memory() > limits.memory << 21:
                    killed = "memory"
            if killed:
                running.kill()
                break
            for key, _ in selector.select(timeout=0.1):
                piece = os.read(key.fd, 1 << 16)
                if not piece:
                    selector.unregister(key.fd)
                    open_streams -= 1
                    continue
                seen[key.fd] += len(piece)
                kept[key.fd] += piece[: max(0, cap - len(kept[key.fd]))]
                if seen[key.fd] > stop_at:
                    killed = "output"
    # A program may close its own streams and run on: keep watching until the tree is gone.
    while not killed and not _gone(process):
        if time.monotonic() - began > limits.wall:
            killed = "wall"
            running.kill()
    process.wait()
    out, err = (bytes(buffer).decode("utf-8", "replace") for buffer in kept.values())
    return killed, out, err


def _gone(process: "subprocess.Popen[bytes]") -> bool:
    try:
        process.wait(timeout=0.1)
    except subprocess.TimeoutExpired:
        return False
    return True

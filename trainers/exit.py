"""How a driver's process ends."""

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """Exit as `sys.exit(code)` does, but leave taking torch apart to the kernel: that alone takes 0.7 s.

    What registered with atexit is called and what was printed is flushed; destructors of modules are not run.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(code)

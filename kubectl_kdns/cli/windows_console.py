"""Lets a console of Windows take colours: it shows escape sequences as they are until a program asks for more."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import ctypes
    import msvcrt

    _ENABLE_VIRTUAL_TERMINAL_PROCESSING = 4

    def take_escapes(fd: int) -> None:
        """For the console behind a descriptor (SetConsoleMode); nothing where that is none, or too old."""
        console, mode = ctypes.c_void_p(msvcrt.get_osfhandle(fd)), ctypes.c_ulong()
        kernel32 = ctypes.windll.kernel32
        if kernel32.GetConsoleMode(console, ctypes.byref(mode)):
            kernel32.SetConsoleMode(console, mode.value | _ENABLE_VIRTUAL_TERMINAL_PROCESSING)

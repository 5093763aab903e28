"""Runs the command of its arguments under a kernel that says of pidfd_open that it does not have it."""

import ctypes
import errno
import os
import struct
import sys

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_SECCOMP_MODE_FILTER = 2
_PIDFD_OPEN = 434  # on every architecture
# A filter of system calls, as linux/filter.h and linux/seccomp.h have it: code, jumps if true and if false, value.
_FILTER = (
    (0x20, 0, 0, 0),  # load the call's number
    (0x15, 0, 1, _PIDFD_OPEN),
    (0x06, 0, 0, 0x00050000 | errno.ENOSYS),
    (0x06, 0, 0, 0x7FFF0000),  # allow
)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def main() -> None:
    code = b"".join(struct.pack("HBBI", *one) for one in _FILTER)
    program = _Program(len(_FILTER), code)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
    ):
        if prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "the kernel takes no filter of system calls")
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606  (no shell is wanted)


if __name__ == "__main__":
    main()

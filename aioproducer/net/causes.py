"""The reasons of failed connections as text: errors of the operating system and of name servers.

The event loops use different texts for these errors, and print addresses as Python tuples.
"""

from __future__ import annotations

import errno
import os
import socket

_BY_ERRNO = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset by the peer",
    errno.ECONNABORTED: "connection aborted",
    errno.EPIPE: "connection closed by the peer",
    errno.EHOSTUNREACH: "no route to host",
    errno.EHOSTDOWN: "host is down",
    errno.ENETUNREACH: "network is unreachable",
    errno.ENETDOWN: "network is down",
    errno.ETIMEDOUT: "connection timed out",
    errno.EACCES: "permission denied, perhaps by a firewall",
    errno.EPERM: "operation not permitted, perhaps by a firewall",
    errno.EAFNOSUPPORT: "address family is not supported on this machine",
    errno.EADDRNOTAVAIL: "no local address is available",
    errno.EMFILE: "too many open files in this process",
    errno.ENFILE: "too many open files on this machine",
}

_BY_NAME_ERROR = {
    socket.EAI_NONAME: "name not known",
    socket.EAI_NODATA: "name has no address",
    socket.EAI_AGAIN: "name server does not answer",
    socket.EAI_FAIL: "name server failed",
}


def cause_of(error: BaseException) -> str:
    """Return the text of an error, without errno, address and class name."""
    if isinstance(error, socket.gaierror):
        return _BY_NAME_ERROR.get(error.errno or 0) or error.strerror or str(error)
    if isinstance(error, UnicodeError):
        return "not a host name"
    if isinstance(error, OSError) and error.errno is not None:
        return _BY_ERRNO.get(error.errno) or os.strerror(error.errno)
    # `str(TimeoutError())` is empty.
    return str(error) or type(error).__name__

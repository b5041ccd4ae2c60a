"""A Kerberos realm for tests: MIT's KDC of Debian's package `krb5-kdc`, on loopback, without root's files.

`Kdc.environment` lets the libraries of a process use it: `KRB5_CONFIG` and the names of caches.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REALM = "LAB.TEST"
PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local")
STARTS_WITHIN = 20.0

_KRB5_CONF = """
[libdefaults]
 default_realm = {realm}
 dns_lookup_realm = false
 dns_lookup_kdc = false
 dns_canonicalize_hostname = false
 rdns = false
 udp_preference_limit = 1
[realms]
 {realm} = {{
  kdc = 127.0.0.1:{port}
 }}
[domain_realm]
 localhost = {realm}
"""
_KDC_CONF = """
[kdcdefaults]
 kdc_listen = 127.0.0.1:{port}
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 {realm} = {{
  database_name = {folder}/principal
  key_stash_file = {folder}/stash
  acl_file = {folder}/kadm5.acl
  supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
 }}
"""


def find(program: str) -> str | None:
    """Return the path of a program of Kerberos; Debian keeps some in /usr/sbin."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Kdc:
    """A realm with its keytabs in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        values = {"realm": REALM, "folder": folder, "port": self.port}
        (folder / "krb5.conf").write_text(_KRB5_CONF.format(**values))
        (folder / "kdc.conf").write_text(_KDC_CONF.format(**values))

    @property
    def environment(self) -> dict[str, str]:
        """The variables for a client without a ticket and without a keytab."""
        return {
            "KRB5_CONFIG": str(self.folder / "krb5.conf"),
            "KRB5CCNAME": f"FILE:{self.folder / 'no-cache'}",
            "KRB5_CLIENT_KTNAME": str(self.folder / "no-keytab"),
            "KRB5_KTNAME": str(self.folder / "no-keytab"),
        }

    def keytab(self, principal: str) -> Path:
        """Return the keytab of a principal, which is added to the realm."""
        path = self.folder / f"{principal.replace('/', '-')}.keytab"
        if not path.exists():
            self._run("kadmin.local", "-q", f"addprinc -randkey {principal}")
            self._run("kadmin.local", "-q", f"ktadd -k {path} {principal}")
        return path

    @contextmanager
    def run(self) -> Iterator[Kdc]:
        """Run the KDC."""
        self._run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
        process = subprocess.Popen(  # noqa: S603 -- a program of Kerberos
            [str(find("krb5kdc")), "-n"],
            env=self._server_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._wait_until_ready(process)
            yield self
        finally:
            process.terminate()
            process.wait(10)

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + STARTS_WITHIN
        while time.monotonic() < deadline:
            assert process.poll() is None, "krb5kdc ended"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        message = "krb5kdc does not listen"
        raise TimeoutError(message)

    def _server_environment(self) -> dict[str, str]:
        return os.environ | self.environment | {"KRB5_KDC_PROFILE": str(self.folder / "kdc.conf")}

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(  # noqa: S603 -- programs of Kerberos
            [str(find(program)), *arguments],
            env=self._server_environment(),
            check=True,
            capture_output=True,
            timeout=60,
        )

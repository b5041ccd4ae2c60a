"""Keys and certificates from files and texts: PEM, and PKCS#12 through `cryptography`.

    file ──▶ bytes ──┬─ PEM ────────────────────┐
                     ├─ PKCS#12 ─ cryptography ─┼──▶ PEM in memory ──▶ ssl.SSLContext
    PEM text ────────┴──────────────────────────┘

`ssl` reads a key only from a file. A key that is not one already is written to a file in memory
(memfd, Linux), else to a private temporary file (mode 0600) that is deleted at once.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from aioproducer.errors import ConfigurationError
from aioproducer.net.causes import cause_of
from aioproducer.net.certificate import Certificate

if TYPE_CHECKING:
    from collections.abc import Iterator

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)

# The first bytes of Java's own formats, JKS and JCEKS.
_JAVA_STORES: Final = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
_DER = b"\x30"

# Keystores are smaller. Without a limit a wrong path (/dev/zero) would fill the memory.
_MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A text or a file, and the option that names it."""

    option: str
    path: str | None = None
    text: str | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """Return the content; raises ConfigurationError."""
        if self.text is not None:
            return self.text.encode()
        assert self.path is not None  # noqa: S101 - a source has one of them
        try:
            with Path(self.path).open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError as error:
            reasons = {FileNotFoundError: "there is no such file", IsADirectoryError: "it is a folder"}
            self.fail(reasons.get(type(error), cause_of(error)))
        if not content:
            self.fail("the file is empty")
        if len(content) > _MOST_BYTES:
            self.fail("the file is too large for keys and certificates")
        return content

    def fail(self, reason: str) -> NoReturn:
        """Raise a ConfigurationError that names the option and the file."""
        place = self.option if self.path is None else f"{self.option}={self.path!r}"
        message = f"{place} cannot be used: {reason}"
        raise ConfigurationError(message, option=self.option, value=self.path)


@dataclass(frozen=True, slots=True)
class Identity:
    """The certificate chain and the key of the client as PEM."""

    chain: bytes
    key: bytes = field(repr=False)
    password: str | None = field(repr=False)
    key_source: Source

    def load_into(self, context: ssl.SSLContext) -> None:
        """Load both into a context; raises ConfigurationError."""
        try:
            with _as_file(self.chain + b"\n" + self.key + b"\n") as path:
                context.load_cert_chain(path, password=self._give_password)
        except ssl.SSLError as error:
            self.key_source.fail(self._reason(error))
        except OSError as error:
            # OpenSSL reads from a file only, and the process has no free descriptor for one.
            self.key_source.fail(cause_of(error))
        except ConfigurationError:
            # It is a ValueError too.
            raise
        except ValueError:
            # OpenSSL takes at most 1023 bytes.
            self.key_source.fail("the password is too long (ssl_key_password)")

    @property
    def certificate(self) -> Certificate | None:
        """The client's own certificate, None if it cannot be read."""
        [first] = _CERTIFICATE.findall(self.chain)[:1]
        return parse_certificate(first)

    def _give_password(self) -> str:
        # Without this function OpenSSL would ask for the password at the terminal.
        if self.password is None:
            self.key_source.fail("the key is encrypted; set ssl_key_password")
        return self.password

    def _reason(self, error: ssl.SSLError) -> str:
        if error.reason == "KEY_VALUES_MISMATCH":
            return "the key does not belong to the certificate (the client's own must be the first one)"
        if self.password is not None and b"ENCRYPTED" in self.key:
            return "the password is wrong (ssl_key_password), or the key is damaged"
        return f"the key or a certificate is damaged ({error.reason or 'not readable'})"


def read_identity(store: Source, store_password: str | None, key_password: str | None) -> Identity:
    """Read a file with key and certificate chain."""
    content = store.read()
    if _is_pem(content):
        return pem_identity(store, content, store, content, key_password or store_password)
    _refuse_java_store(store, content)
    key, certificates = _read_pkcs12(store, content, store_password or key_password)
    if key is None:
        store.fail("there is no private key in it")
    return Identity(b"".join(certificates), key, None, store)


def pem_identity(
    chain_source: Source, chain: bytes, key_source: Source, key: bytes, password: str | None
) -> Identity:
    """Return the identity in the PEM of a chain and of a key."""
    certificates = _CERTIFICATE.findall(chain)
    if not certificates:
        _refuse_java_store(chain_source, chain)
        chain_source.fail("there is no certificate in it (PEM, -----BEGIN CERTIFICATE-----)")
    found = _KEY.search(key)
    if found is None:
        _refuse_java_store(key_source, key)
        key_source.fail("there is no private key in it (PEM, -----BEGIN PRIVATE KEY-----)")
    return Identity(b"\n".join(certificates), found[0], password, key_source)


def load_trusted(context: ssl.SSLContext, source: Source, password: str | None) -> None:
    """Load CA certificates into a context: PEM, PKCS#12, DER, or a folder as OpenSSL has it."""
    # `Path.is_dir` raises for a name that is too long, or in a folder that cannot be searched.
    if source.path is not None and os.path.isdir(source.path):  # noqa: PTH112 - see above
        context.load_verify_locations(capath=source.path)
        return
    content = source.read()
    if _is_pem(content):
        blocks = _CERTIFICATE.findall(content)
        if not blocks:
            source.fail("there is no certificate in it (PEM, -----BEGIN CERTIFICATE-----)")
        if not all(map(bytes.isascii, blocks)):
            source.fail("a certificate is damaged (it has bytes that are not ASCII)")
        data: str | bytes = b"\n".join(blocks).decode("ascii")
    else:
        _refuse_java_store(source, content)
        data = content if _is_certificate(content) else _trusted_in_pkcs12(source, content, password)
    try:
        context.load_verify_locations(cadata=data)
    except ssl.SSLError as error:
        source.fail(f"a certificate is damaged ({error.reason or 'not readable'})")


def parse_certificate(pem: bytes) -> Certificate | None:
    """Return the fields of a PEM certificate, None if it cannot be read."""
    try:
        return Certificate.parse(ssl.PEM_cert_to_DER_cert(pem.decode("ascii")))
    except ValueError:
        return None


def _is_pem(content: bytes) -> bool:
    return b"-----BEGIN " in content


def _is_certificate(content: bytes) -> bool:
    try:
        Certificate.parse(content)
    except ValueError:
        return False
    return True


def _refuse_java_store(source: Source, content: bytes) -> None:
    if content.startswith(_JAVA_STORES):
        source.fail(
            "it is a Java keystore (JKS). Convert it: keytool -importkeystore "
            f"-srckeystore {source.path} -destkeystore {Path(source.path or 'store').stem}.p12 "
            "-deststoretype PKCS12"
        )


def _trusted_in_pkcs12(source: Source, content: bytes, password: str | None) -> str:
    _, certificates = _read_pkcs12(source, content, password)
    if not certificates:
        source.fail("there is no certificate in it")
    return b"".join(certificates).decode("ascii")


def _read_pkcs12(source: Source, content: bytes, password: str | None) -> tuple[bytes | None, list[bytes]]:
    if not content.startswith(_DER):
        source.fail("it is neither PEM nor PKCS#12")
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.serialization import pkcs12  # noqa: PLC0415 - an extra
    except ImportError:
        source.fail("PKCS#12 needs an extra: pip install 'aioproducer[pkcs12]'")
    try:
        store = pkcs12.load_pkcs12(content, None if password is None else password.encode())
    except Exception as error:  # noqa: BLE001 - whatever the library raises, the file cannot be read
        needs = "it may need a password" if password is None else "the password may be wrong"
        source.fail(f"it is not readable as PKCS#12 ({type(error).__name__}); {needs}")
    key = None
    if store.key is not None:
        key = store.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    entries = [*([store.cert] if store.cert else []), *store.additional_certs]
    return key, [entry.certificate.public_bytes(serialization.Encoding.PEM) for entry in entries]


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Yield the path of a private file with this content; it is gone afterwards."""
    with contextlib.ExitStack() as stack:
        descriptor = _memory_file()
        if descriptor is None:
            descriptor, path = tempfile.mkstemp(prefix="aioproducer-")
            stack.callback(os.unlink, path)
        else:
            path = f"/proc/self/fd/{descriptor}"
        with open(descriptor, "wb", closefd=True) as file:  # noqa: PTH123 - a descriptor has no Path
            file.write(content)
            file.flush()
            yield path


def _memory_file() -> int | None:
    """Return the descriptor of a file that is in memory only, None where that is not possible."""
    if not hasattr(os, "memfd_create") or not Path("/proc/self/fd").exists():
        return None
    try:
        return os.memfd_create("aioproducer", os.MFD_CLOEXEC)
    except OSError:
        # Some sandboxes forbid the call.
        return None

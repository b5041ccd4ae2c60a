"""Files that are damaged or cannot be read when they are renewed: the former context stays."""

from __future__ import annotations

import errno
import os
import tempfile
from typing import TYPE_CHECKING

from aioproducer.net import tls_files
from tests.net.test_tls import CA, CLIENT, contexts

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_damaged_bytes_keep_context(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that is full leaves any bytes in a file."""
    (tmp_path / "ca.pem").write_text(CA.pem)
    made = contexts(ssl_truststore_location=tmp_path / "ca.pem")
    first = await made.current()
    (tmp_path / "ca.pem").write_bytes(CA.pem.encode().replace(b"MII", b"\xff\xfe"))
    assert await made.current() is first
    assert "a certificate is damaged" in caplog.text


async def test_lack_of_descriptors_keeps_context(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ca.pem").write_text(CA.pem)
    CLIENT.write(tmp_path / "client.pem")
    made = contexts(
        ssl_truststore_location=tmp_path / "ca.pem", ssl_keystore_location=tmp_path / "client.pem"
    )
    first = await made.current()

    def refuse(**_options: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(tls_files, "_memory_file", lambda: None)
    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    CLIENT.write(tmp_path / "client.pem")
    os.utime(tmp_path / "client.pem", (1, 1))
    assert await made.current() is first
    assert "too many open files in this process" in caplog.text

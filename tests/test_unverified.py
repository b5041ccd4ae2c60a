"""Certificates stay unverified only where the user asked for it, and where nothing is sent."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import aioproducer

PACKAGE = Path(aioproducer.__file__).parent

ALLOWED = {
    # The option enable_ssl_certificate_verification is False.
    "net/tls.py:_make_context",
    # Reads the certificate that was refused, for the message, and sends nothing.
    "net/handshake.py:fetch_certificate",
    # The fake broker, which need not ask clients for certificates.
    "testing/security.py:",
}


def places(name: str) -> set[str]:
    """Return the module and the function of each use of an attribute with this name."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        owner = {
            id(inner): function.name
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for inner in ast.walk(function)
        }
        found |= {
            f"{path.relative_to(PACKAGE).as_posix()}:{owner.get(id(node), '')}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr == name
        }
    return found


def test_certificates_are_verified() -> None:
    assert places("CERT_NONE") == ALLOWED


def test_option_alone_turns_verification_off() -> None:
    source = (PACKAGE / "net" / "tls.py").read_text(encoding="utf-8")

    assert source.count("CERT_NONE") == 1
    assert re.search(
        r"if not config\.enable_ssl_certificate_verification:\n"
        r"\s+context\.check_hostname = False\n\s+context\.verify_mode = ssl\.CERT_NONE\n",
        source,
    )


def test_no_unverified_contexts() -> None:
    """Other ways to the same: the private function of `ssl`, and the argument of httpx."""
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert "_create_unverified_context" not in source
        assert not re.search(r"\bverify\s*=\s*False", source)

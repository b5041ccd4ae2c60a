"""Brokers with a listener for every kind of security."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from aioproducer.testing.certificates import LOCAL_NAMES, Certificates, Issuer
from tests.integration.conftest import OLDER, OLDEST
from tests.integration.kafka import NEWEST
from tests.integration.maven import parse_version
from tests.integration.secured import SecuredKafka
from tests.integration.security.matrix import VERY_OLD
from tests.integration.security.odd_listeners import odd_listeners
from tests.integration.security.very_old import VeryOldKafka
from tests.sasl.kdc import PROGRAMS, Kdc, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.kafka import KafkaCluster

# The first version that understands the requests of the harness.
_OWN_REQUESTS = (2, 7)


@pytest.fixture(scope="session")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kdc | None]:
    """Run a KDC; None where Kerberos is not installed."""
    if any(find(program) is None for program in PROGRAMS):
        yield None
        return
    with Kdc(tmp_path_factory.mktemp("kdc")).run() as kdc:
        yield kdc


@pytest.fixture
def ticket(realm: Kdc | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Be alice, with a keytab; skip the test without Kerberos."""
    if missing := [program for program in PROGRAMS if find(program) is None]:
        pytest.skip(f"no KDC: {', '.join(missing)} not found; Debian has them in krb5-kdc, krb5-admin-server")
    pytest.importorskip("gssapi", reason="the extra gssapi is not installed", exc_type=ImportError)
    assert realm is not None
    for name, value in realm.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", str(realm.keytab("alice")))
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path / 'cache'}")


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """Make the CA of all brokers and clients."""
    return Issuer.make()


@pytest.fixture(scope="session")
def secured_of(
    realm: Kdc | None, issuer: Issuer, clusters: list[KafkaCluster], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], SecuredKafka]]:
    """Start a version of Kafka on its first use; it runs until the end of the tests.

    The newest one has the odd listeners too.
    """
    started: dict[str, SecuredKafka] = {}
    certificates = Certificates(
        ca=issuer.own,
        server=issuer.issue("localhost", names=LOCAL_NAMES),
        client=issuer.issue("client"),
    )
    odd = odd_listeners(tmp_path_factory.mktemp("odd"))
    with ExitStack() as stack:

        def secured(version: str) -> SecuredKafka:
            if version not in started:
                kind = VeryOldKafka if parse_version(version) < _OWN_REQUESTS else SecuredKafka
                started[version] = stack.enter_context(
                    kind(
                        version,
                        certificates=certificates,
                        kdc=realm,
                        allows_all=False,
                        more_listeners=odd if version == NEWEST else None,
                    )
                )
                clusters.append(started[version])
            return started[version]

        yield secured
        for cluster in started.values():
            clusters.remove(cluster)


@pytest.fixture
def secured(secured_of: Callable[[str], SecuredKafka]) -> SecuredKafka:
    """One broker of the newest Kafka."""
    return secured_of(NEWEST)


@pytest.fixture
def secured_361(secured_of: Callable[[str], SecuredKafka]) -> SecuredKafka:
    """One broker of Kafka 3.6.1."""
    return secured_of(OLDER)


@pytest.fixture
def secured_282(secured_of: Callable[[str], SecuredKafka]) -> SecuredKafka:
    """One broker of Kafka 2.8.2, with ZooKeeper."""
    return secured_of(OLDEST)


@pytest.fixture
def secured_211(secured_of: Callable[[str], SecuredKafka]) -> SecuredKafka:
    """One broker of Kafka 2.1.1, with ZooKeeper."""
    return secured_of(VERY_OLD)

"""The security of a fake cluster, as tests read and change it: certificates, users, tokens, ACLs.

Changes take effect at once, on all nodes: a new password at the next authentication, an ACL at the
next request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aioproducer.testing.authorizer import CLUSTER_NAME, Operation, ResourceType, Rule
from aioproducer.testing.named import named
from aioproducer.testing.oauth_token import unsecured_token
from aioproducer.testing.security import ClientAuth

if TYPE_CHECKING:
    import ssl

    from aioproducer.testing.certificates import Certificates
    from aioproducer.testing.oauth_token import AcceptedToken
    from aioproducer.testing.security import Authentication, Security

_DEFAULT_PRINCIPAL = "service"


class SecurityControl:
    """The part of a cluster that is about security."""

    def __init__(self, security: Security) -> None:
        self._security = security

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes."""
        raise NotImplementedError

    @property
    def client_options(self) -> dict[str, Any]:
        """The options of a client that may connect: `Producer(**cluster.client_options)`.

        They are new at each access, with the first mechanism and the first user, or an unsecured
        token. Take them when the cluster runs: before, the nodes have no ports.
        """
        security = self._security
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "security_protocol": security.protocol.value,
        }
        if security.protocol.has_tls:
            options["ssl_context"] = self.ssl_context
        if security.protocol.has_sasl:
            [mechanism, *_] = security.mechanisms
            options["sasl_mechanism"] = mechanism
            if mechanism == "OAUTHBEARER":
                options["sasl_token_provider"] = self._token
            else:
                [(options["sasl_username"], options["sasl_password"]), *_] = (
                    security.credentials.users.items()
                )
        return options

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """A new context of a client that trusts the cluster's CA.

        It has the client's certificate unless `client_auth` is "none". Raises ValueError without TLS.
        """
        shows_certificate = self._security.client_auth is not ClientAuth.NONE
        return self.certificates.client_context(shows_certificate=shows_certificate)

    @property
    def server_ssl_context(self) -> ssl.SSLContext:
        """The brokers' own context; a change, such as of `maximum_version`, is for new connections."""
        if self._security.server_context is None:
            raise self._without_tls()
        return self._security.server_context

    @property
    def certificates(self) -> Certificates:
        """The certificates of the CA, the brokers and the client; raises ValueError without TLS."""
        if self._security.certificates is None:
            raise self._without_tls()
        return self._security.certificates

    @property
    def ca_certificate(self) -> str:
        """The CA's certificate as PEM text, for `ssl_truststore_certificates`."""
        return self.certificates.ca.certificate

    @property
    def client_certificate(self) -> str:
        """The client's certificate as PEM text, for `ssl_keystore_certificate_chain`."""
        return self.certificates.client.certificate

    @property
    def client_key(self) -> str:
        """The private key of the client's certificate as PEM text, for `ssl_keystore_key`."""
        return self.certificates.client.key

    @property
    def authentications(self) -> list[Authentication]:
        """All finished SASL exchanges so far, successful or not, in their order."""
        return list(self._security.authentications)

    @property
    def session_lifetime_ms(self) -> int | None:
        """The limit of sessions that begin from now on; None for no limit."""
        return self._security.session_lifetime_ms

    @session_lifetime_ms.setter
    def session_lifetime_ms(self, milliseconds: int | None) -> None:
        self._security.limit_sessions(milliseconds)

    def set_user(self, user: str, password: str) -> None:
        """Add a user of PLAIN and SCRAM, or change the password; running sessions go on."""
        self._security.credentials.set_password(user, password)

    def remove_user(self, user: str) -> None:
        """Remove a user; running sessions go on."""
        self._security.credentials.remove(user)

    def set_token(self, value: str, token: str | AcceptedToken) -> None:
        """Accept an OAUTHBEARER token, for a principal or as `AcceptedToken`; unsecured ones no more."""
        self._security.credentials.set_token(value, token)

    def remove_token(self, value: str) -> None:
        """Refuse a token from now on."""
        self._security.credentials.remove_token(value)

    def deny(
        self,
        operation: Operation | str | int,
        *,
        topic: str | None = None,
        transactional_id: str | None = None,
        principal: str | None = None,
    ) -> None:
        """Deny an operation on a topic, a transactional id, or the cluster if neither is given.

        A name may end with `*`: `topic="*"` means all topics. `principal` None means all clients;
        `ANONYMOUS` is one without authentication, `CN=client` one with the client's certificate.
        The last matching `deny` or `allow` decides; without one everything is allowed. Raises
        ValueError for an unknown operation.

        >>> from aioproducer.testing import FakeCluster
        >>> cluster = FakeCluster(topics=["orders"])
        >>> cluster.deny("WRITE", topic="orders")     # TOPIC_AUTHORIZATION_FAILED
        >>> cluster.allow("WRITE", topic="orders")    # works again
        """
        self._add_rule(operation, topic, transactional_id, principal, allows=False)

    def allow(
        self,
        operation: Operation | str | int,
        *,
        topic: str | None = None,
        transactional_id: str | None = None,
        principal: str | None = None,
    ) -> None:
        """Allow an operation that an earlier `deny` denied; see there for the arguments."""
        self._add_rule(operation, topic, transactional_id, principal, allows=True)

    def _add_rule(
        self,
        operation: Operation | str | int,
        topic: str | None,
        transactional_id: str | None,
        principal: str | None,
        *,
        allows: bool,
    ) -> None:
        if topic is not None and transactional_id is not None:
            message = "an ACL is for a topic or for a transactional id, not for both"
            raise ValueError(message)
        resource, name = ResourceType.CLUSTER, CLUSTER_NAME
        if topic is not None:
            resource, name = ResourceType.TOPIC, topic
        elif transactional_id is not None:
            resource, name = ResourceType.TRANSACTIONAL_ID, transactional_id
        rule = Rule(
            allows=allows,
            operation=named(Operation, operation, "operation"),
            resource=resource,
            name=name,
            # Kafka writes User:alice.
            principal=None if principal is None else principal.removeprefix("User:"),
        )
        self._security.authorizer.add(rule)

    def _token(self) -> str:
        """Return a valid token for OAUTHBEARER."""
        tokens = self._security.credentials.tokens
        if tokens is None:
            return unsecured_token(next(iter(self._security.credentials.users), _DEFAULT_PRINCIPAL))
        return next(iter(tokens))

    def _without_tls(self) -> ValueError:
        message = f"security={self._security.protocol.value!r} has no certificates; SSL and SASL_SSL have"
        return ValueError(message)

"""Administration of access over the wire: SCRAM users and ACLs."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from kio.schema.alter_user_scram_credentials.v0.request import (
    AlterUserScramCredentialsRequest,
    ScramCredentialDeletion,
    ScramCredentialUpsertion,
)
from kio.schema.alter_user_scram_credentials.v0.response import AlterUserScramCredentialsResponse
from kio.schema.create_acls.v2.request import AclCreation, CreateAclsRequest
from kio.schema.create_acls.v2.response import CreateAclsResponse
from kio.schema.delete_acls.v2.request import DeleteAclsFilter, DeleteAclsRequest
from kio.schema.delete_acls.v2.response import DeleteAclsResponse
from kio.schema.describe_acls.v2.request import DescribeAclsRequest
from kio.schema.describe_acls.v2.response import DescribeAclsResponse
from kio.schema.describe_user_scram_credentials.v0.request import (
    DescribeUserScramCredentialsRequest,
    UserName,
)
from kio.schema.describe_user_scram_credentials.v0.response import DescribeUserScramCredentialsResponse
from kio.schema.errors import ErrorCode
from kio.static.primitive import i8, i32

from tests.integration.polling import until
from tests.integration.topics import AdminError, Topics
from tests.integration.wire import ask

if TYPE_CHECKING:
    from tests.integration.wire import Address

ITERATIONS = 4096

SCRAM = {"SCRAM-SHA-256": (i8(1), "sha256"), "SCRAM-SHA-512": (i8(2), "sha512")}

# The numbers of Kafka's ResourceType, AclOperation and AclPermissionType.
_RESOURCES = {"topic": i8(2), "cluster": i8(4), "transactional id": i8(5)}
_OPERATIONS = {"all": i8(2), "write": i8(4), "create": i8(5), "describe": i8(8), "idempotent write": i8(12)}
_DENY, _ALLOW = i8(2), i8(3)
_LITERAL = i8(3)

EVERY_NAME = "*"
CLUSTER_NAME = "kafka-cluster"


class Access(Topics):
    """The commands; each returns when every broker knows the change."""

    def set_scram_user(self, user: str, password: str) -> None:
        """Let a user authenticate with SCRAM, or change the password."""
        for number, digest in SCRAM.values():
            salt = secrets.token_bytes(16)
            salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, ITERATIONS)
            upsertion = ScramCredentialUpsertion(
                name=user, mechanism=number, iterations=i32(ITERATIONS), salt=salt, salted_password=salted
            )
            self._alter_scram(user, upsertions=(upsertion,))
        self._until_scram(user, len(SCRAM))

    def remove_scram_user(self, user: str) -> None:
        """Remove a user's SCRAM credentials; running sessions go on."""
        for number, _ in SCRAM.values():
            self._alter_scram(user, deletions=(ScramCredentialDeletion(name=user, mechanism=number),))
        self._until_scram(user, 0)

    def allow_all_users(self) -> None:
        """Allow everything to everybody, so that `deny` has an effect on one operation alone."""
        for resource in _RESOURCES:
            name = CLUSTER_NAME if resource == "cluster" else EVERY_NAME
            self._add_acl(resource, name, "all", EVERY_NAME, _ALLOW)

    def deny(self, resource: str, name: str, operation: str, user: str) -> None:
        """Deny a user one operation on a "topic", "cluster" or "transactional id"."""
        self._add_acl(resource, name, operation, user, _DENY)

    def allow_again(self, resource: str, name: str, operation: str, user: str) -> None:
        """Take back `deny`."""
        removed = DeleteAclsFilter(
            resource_type_filter=_RESOURCES[resource],
            resource_name_filter=name,
            pattern_type_filter=_LITERAL,
            principal_filter=f"User:{user}",
            host_filter="*",
            operation=_OPERATIONS[operation],
            permission_type=_DENY,
        )
        request = DeleteAclsRequest(filters=(removed,))
        for result in ask(self._admin_address(), request, DeleteAclsResponse).filter_results:
            _check(f"an ACL of {resource} {name}", result.error_code, result.error_message)
        self._until_acls(resource, name, operation, user, _DENY, exists=False)

    def _add_acl(self, resource: str, name: str, operation: str, user: str, permission: i8) -> None:
        creation = AclCreation(
            resource_type=_RESOURCES[resource],
            resource_name=name,
            resource_pattern_type=_LITERAL,
            principal=f"User:{user}",
            host="*",
            operation=_OPERATIONS[operation],
            permission_type=permission,
        )
        request = CreateAclsRequest(creations=(creation,))
        for result in ask(self._admin_address(), request, CreateAclsResponse).results:
            _check(f"an ACL of {resource} {name}", result.error_code, result.error_message)
        self._until_acls(resource, name, operation, user, permission, exists=True)

    def _until_acls(
        self, resource: str, name: str, operation: str, user: str, permission: i8, *, exists: bool
    ) -> None:
        request = DescribeAclsRequest(
            resource_type_filter=_RESOURCES[resource],
            resource_name_filter=name,
            pattern_type_filter=_LITERAL,
            principal_filter=f"User:{user}",
            host_filter="*",
            operation=_OPERATIONS[operation],
            permission_type=permission,
        )

        def all_know() -> bool:
            return all(
                bool(ask(address, request, DescribeAclsResponse).resources) is exists
                for address in self._known_addresses()
            )

        until(f"all brokers know the ACL of {resource} {name}", all_know)

    def _alter_scram(
        self,
        user: str,
        *,
        deletions: tuple[ScramCredentialDeletion, ...] = (),
        upsertions: tuple[ScramCredentialUpsertion, ...] = (),
    ) -> None:
        request = AlterUserScramCredentialsRequest(deletions=deletions, upsertions=upsertions)
        for result in ask(self._admin_address(), request, AlterUserScramCredentialsResponse).results:
            _check(f"SCRAM user {user}", result.error_code, result.error_message)

    def _until_scram(self, user: str, count: int) -> None:
        request = DescribeUserScramCredentialsRequest(users=(UserName(name=user),))

        def all_know() -> bool:
            return all(
                len(result.credential_infos) == count
                for address in self._known_addresses()
                for result in ask(address, request, DescribeUserScramCredentialsResponse).results
            )

        until(f"all brokers know the SCRAM user {user}", all_know)

    def _known_addresses(self) -> list[Address]:
        return list(self.broker_addresses().values())


def _check(what: str, code: ErrorCode, reason: str | None) -> None:
    if code is not ErrorCode.none:
        raise AdminError(what, code, reason)

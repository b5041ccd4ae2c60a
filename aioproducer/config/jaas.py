r"""The property `sasl.jaas.config`: the login of one SASL mechanism, as Java writes it.

    org.apache.kafka.common.security.plain.PlainLoginModule required username="me" password="p\"w";
    └──────────────── login module ───────────────────────┘ └ flag ┘ └────── options ──────────┘

The text holds secrets. Errors name the position and the options, never a value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from aioproducer.config.nearest import nearest
from aioproducer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROPERTY: Final = "sasl_jaas_config"

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<quoted>"(?P<double>(?:\\.|[^"\\\n])*)"|'(?P<single>(?:\\.|[^'\\\n])*)')
      | (?P<word>[^\s;="'/]+(?:/[^\s;="'/*]+)*)
      | (?P<sign>[;=])
    )""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(r"\\([0-3]?[0-7]{1,2}|.)", re.DOTALL)
_CONTROLS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_FLAGS = ("required", "requisite", "sufficient", "optional")


class _Module(NamedTuple):
    """A login module: its mechanisms, our names of its options, and options that change nothing here."""

    mechanisms: tuple[str, ...]
    options: Mapping[str, str]
    ignored: frozenset[str] = frozenset()
    refused: Mapping[str, str] = {}


_AWS = "set it in the environment or in a profile of AWS (AWS_PROFILE)"

_MODULES: Final[Mapping[str, _Module]] = {
    "PlainLoginModule": _Module(("PLAIN",), {"username": "sasl_username", "password": "sasl_password"}),
    "ScramLoginModule": _Module(
        ("SCRAM-SHA-256", "SCRAM-SHA-512"),
        {"username": "sasl_username", "password": "sasl_password", "tokenauth": "sasl_scram_tokenauth"},
    ),
    "OAuthBearerLoginModule": _Module(
        ("OAUTHBEARER",),
        {
            "clientId": "sasl_oauthbearer_client_credentials_client_id",
            "clientSecret": "sasl_oauthbearer_client_credentials_client_secret",
            "scope": "sasl_oauthbearer_scope",
        },
    ),
    "Krb5LoginModule": _Module(
        ("GSSAPI",),
        {
            "serviceName": "sasl_kerberos_service_name",
            "principal": "sasl_kerberos_principal",
            "keyTab": "sasl_kerberos_keytab",
        },
        # They say how Java keeps credentials; GSSAPI's library has its own rules.
        frozenset(
            {
                "debug",
                "doNotPrompt",
                "isInitiator",
                "refreshKrb5Config",
                "renewTGT",
                "storeKey",
                "useKeyTab",
                "useTicketCache",
            }
        ),
        {"ticketCache": "set the environment variable KRB5CCNAME"},
    ),
    "IAMLoginModule": _Module(
        ("AWS_MSK_IAM",),
        {},
        frozenset({"awsDebugCreds"}),
        {
            "awsProfileName": "set the environment variable AWS_PROFILE",
            "awsRoleArn": _AWS,
            "awsRoleSessionName": _AWS,
            "awsRoleExternalId": _AWS,
            "awsStsRegion": "set the environment variable AWS_REGION",
        },
    ),
}

_EXTENSION = "extension_"


class JaasLogin(NamedTuple):
    """A parsed `sasl.jaas.config`: the mechanisms of its module, and options under our names."""

    module: str
    mechanisms: tuple[str, ...]
    options: dict[str, object]


def parse_jaas(name: str, text: str) -> JaasLogin:
    """Parse the value of the property `name`; raises ConfigurationError, without the value."""
    return _Parser(name, text).parse()


class _Parser:
    """The tokens of one text, and the place in it."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text.rstrip()
        self._position = 0

    def parse(self) -> JaasLogin:
        if not self._text.strip():
            self._fail("is empty")
        path = self._word("a login module")
        module = path.rpartition(".")[2]
        if module not in _MODULES:
            self._fail_unknown(module)
        if self._word("a flag, mostly 'required',").lower() not in _FLAGS:
            self._fail(f"has none of the flags {', '.join(_FLAGS)} after {module}")
        given = self._options()
        if self._position < len(self._text):
            self._fail("has more than one login module; only one can be used")
        known = _MODULES[module]
        return JaasLogin(module, known.mechanisms, self._own_options(module, known, given))

    def _options(self) -> dict[str, str]:
        options: dict[str, str] = {}
        while (token := self._next()) != ("sign", ";"):
            if token is None:
                self._fail("does not end with a semicolon")
            kind, option = token
            if kind != "word":
                self._fail('needs the name of an option, name="value"')
            if self._next() != ("sign", "="):
                self._fail(f"has no = after {self._option_name(option)}")
            value = self._next()
            if value is None or value[0] == "sign":
                self._fail(f"has no value for {self._option_name(option)}")
            if option in options:
                self._fail(f"has {self._option_name(option)} twice")
            options[option] = value[1]
        return options

    def _own_options(self, module: str, known: _Module, given: Mapping[str, str]) -> dict[str, object]:
        own: dict[str, object] = {}
        extensions: list[tuple[str, str]] = []
        for option, value in given.items():
            if option in known.options:
                own[known.options[option]] = value
            elif option in known.refused:
                self._fail(f"has {option}, which is not supported: {known.refused[option]}")
            elif option.startswith(_EXTENSION) and module == "OAuthBearerLoginModule":
                extensions.append((option.removeprefix(_EXTENSION), value))
            elif option not in known.ignored:
                self._fail(f"has an option that {module} does not have here{self._hint(option, known)}")
        if extensions:
            own["sasl_oauthbearer_extensions"] = tuple(extensions)
        return own

    def _hint(self, option: str, known: _Module) -> str:
        names = (*known.options, *known.refused, *known.ignored)
        # A misplaced quote turns a part of a password into a name, so names are only shown if they are
        # similar to a known one: usrname, but not hunter2.
        near = nearest(option, names)
        return f"; did you mean {near!r}?" if near else f"; it has {', '.join(names)}"

    def _option_name(self, option: str) -> str:
        known = {name for module in _MODULES.values() for name in (*module.options, *module.ignored)}
        return f"the option {option!r}" if option in known else "an option"

    def _fail_unknown(self, module: str) -> NoReturn:
        near = nearest(module, _MODULES)
        hint = f"; did you mean {near!r}?" if near else ""
        self._fail(f"has an unknown login module; known are {', '.join(_MODULES)}{hint}")

    def _word(self, expected: str) -> str:
        token = self._next()
        if token is None or token[0] != "word":
            self._fail(f"needs {expected} first" if "module" in expected else f"needs {expected}")
        return token[1]

    def _next(self) -> tuple[str, str] | None:
        while self._position < len(self._text):
            found = _TOKEN.match(self._text, self._position)
            if found is None:
                self._fail("has a quote that is not closed, or a stray character")
            self._position = found.end()
            if found["comment"] is not None:
                continue
            if found["quoted"] is not None:
                inner = found["double"] if found["double"] is not None else found["single"]
                return "quoted", _ESCAPE.sub(_unescaped, inner)
            return ("word", found["word"]) if found["word"] is not None else ("sign", found["sign"])
        return None

    def _fail(self, fault: str) -> NoReturn:
        message = f"{self._name} {fault} (near character {self._position})"
        raise ConfigurationError(message, option=self._name)


def _unescaped(escape: re.Match[str]) -> str:
    character = escape[1]
    if character[0] in "01234567":
        return chr(int(character, 8))
    return _CONTROLS.get(character, character)

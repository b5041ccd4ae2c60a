"""SASL: how a connection authenticates, as bytes in and bytes out.

    Exchange(mechanism, attempt)                        one exchange for each authentication
                              first() ────────────────▶ bytes of the first SaslAuthenticateRequest
    bytes of the response ──▶ next(bytes) ────────────▶ bytes of the next request, or None: done
    an error code ──────────▶ refused(error_message) ─▶ AuthenticationError with the likely cause

A mechanism is a value: the credentials of one authentication, which its repr hides and which
cannot be pickled. The caller asks for fresh credentials before each authentication, supplies the
clock, the nonce and the host name in `Attempt`, and calls `first` and `next` of an exchange that
is `blocking` in a worker thread.

| file | mechanism | credentials |
|---|---|---|
| `plain.py` | PLAIN | user name, password |
| `scram.py`, `saslprep.py` | SCRAM-SHA-256, SCRAM-SHA-512 | user name, password |
| `oauthbearer.py` | OAUTHBEARER | `Token` |
| `google.py` | | tokens of Google for OAUTHBEARER |
| `gssapi.py` | GSSAPI (Kerberos) | a ticket or a keytab of the system |
| `aws_msk_iam.py` | AWS_MSK_IAM | `AwsCredentials`; also tokens for OAUTHBEARER |

An exchange fails with AuthenticationError alone, whatever the broker sends. Its messages name the
mechanism, quote the broker, and never contain credentials.
"""

"""A program for a secured cluster: all options, secrets among them, come from the environment.

export KAFKA_BOOTSTRAP_SERVERS=kafka-1:9093 KAFKA_SECURITY_PROTOCOL=SASL_SSL
export KAFKA_SSL_TRUSTSTORE_LOCATION=ca.pem
export KAFKA_SASL_MECHANISM=SCRAM-SHA-512 KAFKA_SASL_USERNAME=orders KAFKA_SASL_PASSWORD=...
python secured.py orders tea
"""

import asyncio
import logging
import sys

from aioproducer import (
    AuthenticationError,
    AuthorizationError,
    ConfigurationError,
    Producer,
    ProducerConfig,
    ProducerError,
)

logger = logging.getLogger("secured")


async def main(topic: str, value: str) -> int:
    """Send one record, and return the exit code: 2 if the options or the credentials are to blame."""
    try:
        config = ProducerConfig.from_env()
        logger.info("%s", config)  # secrets are [hidden]
        async with Producer.from_config(config) as producer:
            metadata = await producer.send(topic, value.encode())
    except (ConfigurationError, AuthenticationError, AuthorizationError) as error:
        # The message says which option, certificate or ACL it is. A second attempt would fail as well.
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except ProducerError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"{metadata.topic}-{metadata.partition} at offset {metadata.offset}")
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(asyncio.run(main(*sys.argv[1:])))

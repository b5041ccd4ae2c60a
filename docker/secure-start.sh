#!/usr/bin/env bash
# Start the broker in the container, and give it the SCRAM user alice as soon as it answers.
#
#     BROKER      where to create the user (localhost:19092)
#     KAFKA_BIN   Kafka's commands (/opt/kafka/bin)
#     KAFKA_RUN   the start script of the image (/etc/kafka/docker/run)

set -euo pipefail

# add_user MECHANISM: Kafka takes one mechanism of a user at a time.
add_user() {
    until "${KAFKA_BIN:-/opt/kafka/bin}/kafka-configs.sh" --bootstrap-server "${BROKER:-localhost:19092}" \
        --alter --entity-type users --entity-name alice --add-config "$1=[password=alice-secret]"; do
        sleep 1
    done
}

# The health check logs in with SCRAM-SHA-256, so that comes last.
{ add_user SCRAM-SHA-512 && add_user SCRAM-SHA-256; } &
exec "${KAFKA_RUN:-/etc/kafka/docker/run}"

"""The harness works, with librdkafka as the producer."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from tests.integration import jvm
from tests.integration.kafka import Kafka, KafkaCluster, KafkaMissingError
from tests.integration.maven import Libraries
from tests.integration.node import NodeDiedError
from tests.integration.sources import single_broker

if TYPE_CHECKING:
    from pathlib import Path

# These tests run no code of the package.
pytestmark = pytest.mark.slow


def produce(bootstrap: str, topic: str, values: list[bytes], **config: object) -> None:
    failures: list[object] = []
    producer = Producer(
        {"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0, **config}
    )
    for value in values:
        producer.produce(
            topic,
            value,
            key=b"key",
            headers=[("empty", b""), ("null", None)],
            timestamp=1_700_000_000_000,
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    assert producer.flush(30) == 0
    assert not failures


@pytest.fixture(params=["kafka", "kafka_361"])
def broker(request: pytest.FixtureRequest) -> Kafka:
    kafka = request.getfixturevalue(request.param)
    assert isinstance(kafka, Kafka)
    return kafka


def test_consumed_records_are_complete(broker: Kafka, topic_name: str) -> None:
    topic = broker.create_topic(topic_name)

    produce(broker.bootstrap, topic, [b"first", b"second"])
    records = broker.consume(topic, expected=2)

    assert [record.value for record in records] == [b"first", b"second"]
    assert [record.offset for record in records] == [0, 1]
    assert records[0].key == b"key"
    assert records[0].headers == (("empty", b""), ("null", None))
    assert (records[0].timestamp_ms, records[0].timestamp_type) == (1_700_000_000_000, "CreateTime")


def test_consume_counts_missing_records(broker: Kafka, topic_name: str) -> None:
    topic = broker.create_topic(topic_name)
    produce(broker.bootstrap, topic, [b"only"])

    with pytest.raises(TimeoutError, match="1 of 2 records"):
        broker.consume(topic, expected=2, timeout=1)


def test_console_tools_read_and_write(broker: Kafka, topic_name: str) -> None:
    topic = broker.create_topic(topic_name)

    broker.console_producer(topic, [("k", "väl ue"), (None, "keyless"), ("k", None)])

    properties = {"print.partition": True, "print.offset": True, "print.key": True}
    lines = broker.console_consumer(topic, max_messages=3, properties=properties)
    assert lines == [
        "Partition:0\tOffset:0\tk\tväl ue",
        "Partition:0\tOffset:1\tnull\tkeyless",
        "Partition:0\tOffset:2\tk\tnull",
    ]
    dump = broker.dump_log(topic)
    assert "isvalid: true" in dump
    assert "payload: väl ue" in dump


def test_console_consumer_ends_when_idle(broker: Kafka, topic_name: str) -> None:
    topic = broker.create_topic(topic_name)
    produce(broker.bootstrap, topic, [b"1", b"2"])

    assert broker.console_consumer(topic, timeout=1) == ["1", "2"]


def test_performance_tool_prints_summary(broker: Kafka, topic_name: str) -> None:
    topic = broker.create_topic(topic_name)

    line = broker.producer_performance(topic, 1_000, 100, {"linger.ms": 5})

    assert line.startswith("1000 records sent, ")
    assert line.endswith(" ms 99.9th.")


def test_topics_change_and_are_deleted(broker: Kafka, topic_name: str) -> None:
    topic = broker.create_topic(topic_name, partitions=2, config={"max.message.bytes": 2_000})
    assert sorted(broker.partitions(topic)) == [0, 1]

    broker.add_partitions(topic, 5)
    broker.alter_config(topic, {"max.message.bytes": None, "message.timestamp.type": "LogAppendTime"})
    produce(broker.bootstrap, topic, [b"x" * 3_000])

    assert sorted(broker.partitions(topic)) == [0, 1, 2, 3, 4]
    assert broker.consume(topic, expected=1)[0].timestamp_type == "LogAppendTime"
    broker.delete_topic(topic)
    assert broker.partitions(topic) == {}


def test_active_producers_are_listed(broker: Kafka, topic_name: str) -> None:
    topic = broker.create_topic(topic_name)
    assert broker.producers(topic) == set()

    produce(broker.bootstrap, topic, [b"first"])
    produce(broker.bootstrap, topic, [b"second"], **{"enable.idempotence": False})

    assert len(broker.producers(topic)) == 1


def test_killed_leader_is_replaced(kafka_three: KafkaCluster, topic_name: str) -> None:
    topic = kafka_three.create_topic(topic_name)
    killed = kafka_three.leader(topic)
    produce(kafka_three.bootstrap, topic, [b"before"])

    kafka_three.kill(killed)
    assert kafka_three.wait_for_other_leader(topic, 0, than=killed) != killed
    produce(kafka_three.bootstrap, topic, [b"between"])
    kafka_three.restart(killed)
    produce(kafka_three.bootstrap, topic, [b"after"])

    assert killed in kafka_three.partitions(topic)[0].in_sync
    values = [record.value for record in kafka_three.consume(topic, expected=3)]
    assert values == [b"before", b"between", b"after"]


def test_zookeeper_broker_restarts(kafka_282: KafkaCluster, topic_name: str) -> None:
    topic = kafka_282.create_topic(topic_name)
    produce(kafka_282.bootstrap, topic, [b"before"])

    kafka_282.kill(1)
    kafka_282.restart(1)
    produce(kafka_282.bootstrap, topic, [b"after"])

    assert [record.value for record in kafka_282.consume(topic, expected=2)] == [b"before", b"after"]


def test_paused_leader_is_replaced(kafka_three: KafkaCluster, topic_name: str) -> None:
    topic = kafka_three.create_topic(topic_name)
    paused = kafka_three.leader(topic)

    kafka_three.pause(paused)
    kafka_three.wait_for_other_leader(topic, 0, than=paused)
    # The first producer id of a cluster may have to wait for the frozen broker.
    settings = {"socket.timeout.ms": 2_000, "enable.idempotence": False}
    produce(kafka_three.bootstrap, topic, [b"meanwhile"], **settings)
    kafka_three.resume(paused)
    kafka_three.wait_until_in_sync()

    assert sorted(kafka_three.partitions(topic)[0].in_sync) == [1, 2, 3]
    assert "payload: meanwhile" in kafka_three.dump_log(topic)


def test_leader_moves_on_request(kafka_three: KafkaCluster, topic_name: str) -> None:
    topic = kafka_three.create_topic(topic_name, partitions=3)

    for node in kafka_three.node_ids:
        kafka_three.move_leader(topic, 1, node)
        assert kafka_three.leader(topic, 1) == node


def test_heal_restarts_brokers(kafka_three: KafkaCluster, topic_name: str) -> None:
    topic = kafka_three.create_topic(topic_name)

    kafka_three.stop_node(1)
    kafka_three.heal()

    assert sorted(kafka_three.partitions(topic)[0].in_sync) == [1, 2, 3]


def test_failed_start_shows_the_log() -> None:
    cluster = KafkaCluster(config={"num.network.threads": -1})

    with pytest.raises(NodeDiedError, match=r"num\.network\.threads"):
        cluster.start()

    cluster.stop()


def test_process_outlives_its_thread() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
        started.append(jvm.start(sleep, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()

    (process,) = started
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    process.kill()
    process.wait(10)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="nothing here ties a process to its parent")
def test_process_ends_with_test_runner() -> None:
    script = """
import sys
from tests.integration import jvm
child = "import time; print('started', flush=True); time.sleep(60)"
jvm.start([sys.executable, "-c", child], stdout=1, stderr=2)
sys.stdin.read()
"""
    with subprocess.Popen(  # noqa: S603 - the script above
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as runner:
        assert runner.stdout is not None
        assert runner.stdout.readline() == b"started\n"

        runner.kill()

        # The output ends when the last process that holds it has ended.
        stdout, _ = runner.communicate(timeout=5)
        assert stdout == b""


def test_every_missing_source_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("PATH", "")

    with (
        pytest.raises(KafkaMissingError, match=r"KAFKA_BOOTSTRAP .*; Docker .*; no java"),
        single_broker(),
    ):
        pass


def test_broker_from_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP", "somewhere:9092")

    with single_broker() as kafka:
        assert kafka.bootstrap == "somewhere:9092"


def test_older_versions_are_refused() -> None:
    with pytest.raises(KafkaMissingError, match=r"Kafka 2\.1 and newer, not 2\.0\.1"):
        Libraries.fetch("2.0.1")


def test_maven_is_required(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("AIOPRODUCER_KAFKA_CACHE", str(tmp_path))

    with pytest.raises(KafkaMissingError, match="no mvn"):
        Libraries.fetch("4.0.0")

"""The promises of delivery, kept against a log that is as strict as Kafka's and a world that is not kind.

Each run sends records through accumulator, sequences and settlement to two brokers, while leaders
move, connections break before and after what they carried is stored, answers are lost or leave
batches out, every kind of error is answered, limits shrink, brokers restart and forget, topics are
forgotten, another cluster takes the place of the one before, and time runs out. Then either all
trouble ends, and everything has to be delivered soon; or the producer is stopped. What has to hold
is in `Simulation.check` and `PartitionLog`.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.core.simulation import Options, Simulation

STEPS = 60
RUNS = 40
"""How many runs a test makes, in tens: ten thousands have been made of each kind."""

EPOCHS = (0, 0, 32766)
SEQUENCES = (0, 0, 2**31 - 7)


def options_of(random: Random, *, idempotent: bool) -> Options:
    return Options(
        idempotent=idempotent,
        in_flight=random.choice((1, 5)),
        retries=random.choice((1, 3, 2**31 - 1, 2**31 - 1)),
        delivery_timeout=random.choice((2.5, 30.0, 1e6)),
        linger=random.choice((0.0, 0.02)),
        first_epoch=random.choice(EPOCHS),
        first_sequence=random.choice(SEQUENCES) if idempotent else 0,
        demands_state=random.random() < 0.3,
    )


def run(seed: int, *, idempotent: bool = True, is_stopped: bool = False) -> Simulation:
    """Make the run with this number: the same number, the same run."""
    options = options_of(Random(seed), idempotent=idempotent)  # noqa: S311 - a dice
    simulation = Simulation(seed, options)
    simulation.play(STEPS)
    if is_stopped:
        simulation.stop()
    else:
        simulation.settle()
    simulation.check_outcome()
    return simulation


@pytest.mark.scenario("cancelled-awaiter", "broker-restarts")
@pytest.mark.parametrize("tens", range(RUNS))
def test_records_are_stored_once_and_in_order_whatever_goes_wrong(tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        run(seed)


@pytest.mark.parametrize("tens", range(RUNS // 4))
def test_a_producer_that_is_stopped_leaves_nothing_behind_and_tells_the_truth(tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        run(seed, is_stopped=True)


@pytest.mark.scenario("one-in-flight")
@pytest.mark.parametrize("tens", range(RUNS // 4))
def test_without_idempotence_nothing_is_lost_and_one_in_flight_keeps_the_order(tens: int) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        run(seed, idempotent=False)


def test_the_runs_have_been_through_everything() -> None:
    """What never happens proves nothing."""
    simulations = [run(seed) for seed in range(60)]
    logs = [log for simulation in simulations for log in simulation.logs.values()]
    errors = {
        type(error).__name__
        for simulation in simulations
        for delivery, _, _ in simulation.sent
        if (error := delivery.exception()) is not None
    }

    assert sum(log.duplicates for log in logs) > 100
    assert {"DeliveryTimeoutError", "RecordTooLargeError", "InvalidRecordError", "BrokerError"} <= errors
    assert any(simulation.sequences.producer_id.value > 4000 for simulation in simulations)
    assert sum(simulation.cluster for simulation in simulations) > 10
    assert any(simulation.sequences.producer_id.epoch > 3 for simulation in simulations)

"""The core decides: state without I/O. `now` is an argument, and no module reads a clock or a socket.

The path of a record to the broker:

    Accumulator.append ──▶ open batch in its PartitionQueue ──▶ Schedule ──Shell.wake──▶ sender
       └─ no room, or topic unknown ──▶ RecordBuffer ──Accumulator.serve──▶ open batch

    sender ──▶ Dispatch.decide ──▶ Send(batches) ──▶ Dispatch.assign ──▶ ProduceRequests.build ──▶ request
                    └── Schedule.drain, Sequences.may_send      └── Sequences.assign

And back:

    response ──▶ ProduceCall.match ──▶ Settlement.settle ──▶ BatchResult ──▶ Delivery
                                            └── retry, split: back in the PartitionQueue

Calls. `net` and `producer` call the core. The core calls back only through Protocols, which
are given at construction: `Shell` (wake-ups, timers, metadata), `Listener` (metrics) and `OutageSource`
(present errors). A batch, a partition's queue, the buffer and the sequences change only by their own
methods. `Schedule` also orders `ready` and `lingering` of a `NodeQueue`.

When a batch may fail. Only `Settlement` fails batches:

- by a response: the broker refuses it, `retries` are used up, or one record alone is too large;
- by age: `delivery_timeout_ms` after the first `send`, in its queue or in flight;
- unsent: the cluster refuses a producer id, or the broker is too old for the request;
- with the producer: `stop` or a failure.

A batch in flight that fails by age or with the producer keeps its sequence until its request ends
(`Sequences`). An error of a batch that an attempt may have written says `may_be_written`. Waiting records
have no batch: `Settlement` expires and rejects them through the buffer, and the accumulator fails those
that the user's partitioner refuses.

| file | holds |
|---|---|
| `shell.py`, `events.py` | calls from the core to the code around it; events for metrics |
| `accumulator.py`, `partitioner.py`, `checks.py` | record into batch: arguments, partition, encoding |
| `buffer.py`, `waiting_records.py`, `wait_times.py` | memory in use; waiting records; their times |
| `batch.py`, `queues.py`, `incomplete.py` | a batch; the queues of partition, node, topic; ages |
| `schedule.py`, `dispatch.py` | which batch goes when; the send loop as decisions |
| `produce_request.py` | batches into a request, a response back to its batches |
| `sequences.py`, `producer_id.py` | sequences and gaps per partition; id and epoch |
| `settlement.py`, `outcome.py`, `split.py`, `failures.py` | the end of a batch; error codes; pieces; errors |
| `metadata.py`, `metadata_refresh.py` | topics of interest; when to refresh which of them |
| `metadata_cache.py`, `metadata_merge.py`, `cluster_view.py` | the known cluster; responses merged into it |
| `connection.py`, `broker_versions.py` | requests and responses on one connection; API versions |
| `backoff.py` | waits between attempts |
"""

"""The core decides: state without I/O. `now` is an argument, and no module reads a clock or a socket.

The path of a record, there and back:

    Accumulator.append ─▶ PartitionQueue.open ─▶ Schedule ─▶ Dispatch.decide ─▶ ProduceRequests.build
      │        └─ no room, no topic ─▶ RecordBuffer ─ serve ─▶ (append)                │ net/sender.py
    Delivery ◀─ BatchResult ◀─ Settlement.settle ◀─ ProduceCall.match ◀─ response ◀────┘

- Who may call whom: `net` calls the core. The core calls back only through `Shell`, given at
  construction. The state of a batch, queue, buffer or sequence changes only by its own methods.
- When a batch fails: only in `Settlement`, by a response, by its age or with the producer. A batch that
  may be written keeps its sequence until the response (`Sequences`), and its error says
  `may_be_written`.

| file | holds |
|---|---|
| `shell.py` | what the core asks of the code around it |
| `accumulator.py`, `partitioner.py`, `checks.py` | record into batch: arguments, partition, encoding |
| `buffer.py`, `waiting.py` | memory in use; records and calls that wait for room or topics |
| `batch.py`, `queues.py`, `incomplete.py` | a batch; the queues of partition, node, topic; ages |
| `schedule.py`, `dispatch.py` | which batch goes when; the send loop as decisions |
| `produce_request.py` | batches into a request, a response back to its batches |
| `sequences.py`, `producer_id.py` | sequences and gaps per partition; id and epoch |
| `settlement.py`, `outcome.py`, `split.py`, `failures.py` | the end of a batch; error codes; pieces; errors |
| `metadata.py`, `metadata_refresh.py` | topics of interest; when to refresh which of them |
| `metadata_cache.py`, `metadata_merge.py`, `cluster_view.py` | the known cluster; responses merged into it |
| `connection.py`, `backoff.py` | requests and responses on one connection; waits between attempts |
"""

"""The behaviours that the tests must show, by number.

The numbers are the project's own list of what a Kafka producer has to do under faults; 66 to 84,
88 and 90 are about transactions, security, telemetry and speed, and not built yet.
"""

SCENARIOS = {
    1: "A lone record goes out after linger, not before",
    2: "A full batch goes out at once",
    3: "A record larger than batch_size gets a batch of its own",
    4: "A record larger than max_request_size is refused",
    5: "A record larger than buffer_memory is refused",
    6: "A full buffer: records wait in line, first come first served, for max_block_ms",
    7: "What is given up while it waits for memory leaves nothing behind",
    8: "Under memory pressure all partitions may be sent",
    9: "Many partitions and small requests: each is served",
    10: "A request keeps to max_request_size, but always carries its first batch",
    11: "Flush sends what lingers and waits for all that was there, split parts too",
    12: "A batch that expires in flight keeps its bytes to itself",
    13: "The estimate of the compression ratio adapts, and splits stay rare",
    14: "Each codec, empty and large values, headers, nulls: read back as sent",
    15: "A retriable error is retried after a growing, jittered backoff",
    16: "A leader that changed is tried without backoff",
    17: "When the retries are used up, the original error comes out",
    18: "Unsent batches expire when the leader cannot be reached",
    19: "A batch in flight expires though its request is still out",
    20: "A late answer to an expired batch changes nothing",
    21: "The delivery timeout counts from the batch's creation, across retries and splits",
    22: "A batch too large for the broker is split, in order, each record with its own offset",
    23: "Splitting ends, even where batch_size is above the broker's limit",
    24: "A single record too large for the broker fails alone",
    25: "Only the bad records of a batch get the broker's error for them",
    26: "acks=0: no offset, and the broker's error shows as a closed connection",
    27: "Missing replicas are waited for",
    28: "A topic deleted while records are sent: an error in time, or on when it is back",
    29: "The broker's own words come with the error",
    30: "Five in flight and the first fails: all retried in order, none twice",
    31: "The first fails for good: those behind it go on under new sequences",
    32: "Out of order for the very next batch: a new epoch",
    33: "Out of order for a later batch: retried",
    34: "A duplicate is a success",
    35: "An answer lost after the append: nothing twice in the log",
    36: "Expired unsent leaves no gap; expired after it was sent: what comes next finds out",
    37: "An expired first batch: a new epoch only where those behind it fail too",
    38: "A producer id forgotten with the log's start: the records go on",
    39: "Sequences wrap after 2147483647; the last epoch is followed by a new producer id",
    40: "A new epoch of one partition holds up no other",
    41: "One request in flight keeps the order without idempotence",
    42: "Not allowed to have a producer id: an error, and no endless loop",
    43: "A producer id that expired at the broker: the next records go through",
    44: "A cancelled awaiter neither loses, doubles nor reorders its record",
    45: "Keys go to the partitions that Java's producer gives them",
    46: "Without keys a partition is kept until its batch is full",
    47: "Without keys all partitions get the same share",
    48: "A slow broker's partitions get less",
    49: "The partitions of a broker that does not take what it has are left out",
    50: "A partition without a leader is not chosen without a key; with one it is waited for",
    51: "New partitions are seen and used",
    52: "A missing topic: an error after max_block_ms, unless it is created meanwhile",
    53: "A topic nobody sends to is forgotten",
    54: "Stale leader epochs are ignored; a new topic id is taken",
    55: "The broker's hint of the new leader is used; without one metadata is asked for",
    56: "All brokers replaced at new addresses: found again",
    57: "A name with several addresses: the next one is tried",
    58: "Setting up a connection takes a bounded time, and coming back too",
    59: "A silent broker: the request times out and its batches are sent again",
    60: "Throttling is obeyed",
    61: "Versions are negotiated, with old brokers too",
    62: "A topic without an id and a topic created anew are written to",
    63: "Brokers restarted while records are sent: none lost, none twice, all in order",
    64: "A slow, lossy network: correct, and not stuck",
    65: "Brokers from 2.1 to 4.x, and mixed clusters",
    85: "Stop: drains in time; when forced it fails the rest; from a callback; during start",
    86: "Callbacks that raise harm nothing, and may send",
    87: "Configuration is validated as a whole",
    89: "Metrics count exactly",
}


def table_of(tests: dict[int, set[str]]) -> str:
    """Lay the table out as Markdown: a row for each scenario, with the tests that show it."""
    unknown = sorted(set(tests) - set(SCENARIOS))
    if unknown:
        message = f"tests are marked with scenarios that tests/scenarios.py does not know: {unknown}"
        raise ValueError(message)
    rows = (
        f"| {number} | {title} | {'<br>'.join(sorted(tests.get(number, ())))} |\n"
        for number, title in SCENARIOS.items()
    )
    return f"{INTRODUCTION}| scenario | what is shown | tests |\n|---|---|---|\n{''.join(rows)}"


INTRODUCTION = """\
# Scenarios and the tests that show them

Generated from the tests' own marks (`@pytest.mark.scenario`), never by hand:

    pytest --collect-only -q --scenario-table tests/SCENARIOS.md

"""

"""The shell: tasks, sockets, clocks and randomness around the decisions of `core`.

Everything runs on one event loop. Calls go down, and up only to declared listeners:

    Producer ──▶ Engine ──▶ Cluster ──▶ Broker ──▶ Channel ──▶ Transport ──▶ socket
                   │          │  ▲ BrokerListener  ▲ ChannelListener  │
                   │          │  └──────── Broker ─┴───── Channel ◀───┘
                   │          └──▶ Sender (one per broker) ──▶ Channel.send
                   └──▶ ProducerIdTask ──▶ Ask ──▶ Broker.request ──▶ Channel.exchange

The path of a batch. The accumulator wakes the node's queue; the engine calls `Sender.wake`, and the
loop calls `Sender.pump`. While `Channel.sendable_at` allows it, the sender takes due batches from
the schedule, has them compressed, numbers them and writes one Produce request. The response comes
back through `Transport.buffer_updated`, `Channel`, `core.connection` and the callback of the
request to the sender, which gives each batch to `core.settlement`. No task takes part: all of this
happens in callbacks of the loop.

The tasks, all in the producer's task group (`tasks`):

    broker-N       Broker.run: connect, set up, wait for the loss, back off
    metadata       Cluster.run: find the cluster, refresh the metadata
    producer-id    ProducerIdTask.run: request a producer id when one is needed

All requests but Produce go through `Ask`, which chooses a broker, waits for its connection, retries
and backs off; or, before the connection is in service, through `Setup`.

The files:

    engine        the parts of a producer, put together
    parts         the parts of the core, made from the configuration
    upkeep        timers of expiry, and turns that place waiting records
    cluster       nodes, metadata, a broker and a sender for each node
    bootstrap     the search for the cluster by its addresses
    ask           requests outside the produce path; the race between brokers
    sender        the send loop of one broker
    broker        one broker: the reconnect loop, its states and their transitions
    setup         the steps between TCP and a connection in service
    channel       one live connection: requests, deadlines, throttle, idle time
    exchange      one request whose response a task awaits
    transport     one TCP connection; the choice between the addresses of a host name
    endpoint      the address of a broker, and what earlier connections have shown
    client        the settings and services that all connections share
    compressor    compression, in threads where it takes long
    producer_id   the task that requests a producer id
    lifecycle     the start and stop of a producer as states
    place         the check of each call: the running loop or its thread
    tasks         the task group
    outages       the present causes of an outage, for errors
    retry_log     one line of the log for many retries
    causes        texts for errors of the operating system
    timer         timeouts that read the sockets before they decide
"""

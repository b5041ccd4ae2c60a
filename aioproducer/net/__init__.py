"""The shell: tasks, sockets, clocks and randomness around the decisions of `core`.

Everything runs on one event loop. Calls go down, and up only to declared listeners:

    Producer ──▶ Lifecycle ──▶ Engine ──▶ Cluster ──▶ Broker ──▶ Channel ──▶ Transport ──▶ socket
                                 │          │  ▲ BrokerListener  ▲ ChannelListener  │
                                 │          │  └──────── Broker ─┴───── Channel ◀───┘
                                 │          └──▶ Sender (one per broker) ──▶ Channel.send
                                 ├──▶ Upkeep (expiry, waiting records)
                                 └──▶ ProducerIdTask ──▶ Ask ──▶ Broker.request ──▶ Channel.exchange

The engine is the core's `Shell`, the `Owner` of senders and upkeep, and the listener of the producer id.
The cluster is the listener of its brokers, a broker the listener of its channel.

The path of a batch. `Schedule` calls `Shell.wake`, the cluster calls `Sender.wake`, and the loop calls
`Sender.pump` in a later turn. `pump` asks `Dispatch.decide`, with the time from `Channel.sendable_at`.
The batches are compressed, then they get their sequences, and `Channel.send` writes one Produce request.
The response comes back through `Transport.buffer_updated`, `Channel`, `core.connection` and the callback
of the request to the sender, which gives each batch to `core.settlement`. No task takes part, except one
for a compression in a worker thread: all of this happens in callbacks of the loop.

The tasks in the producer's task group (`tasks`):

    broker-N       Broker.run: connect, set up, wait for the loss, back off
    metadata       Cluster.run: find the cluster, refresh the metadata
    producer-id    ProducerIdTask.run: request a producer id when one is needed
    rejection      Cluster._fail_rejected: fail many rejected records, in slices

Three more kinds of tasks end by themselves: the stop task (`lifecycle`), one per compression in a worker
thread (`compressor`), and those of a race between brokers or addresses.

Requests other than Produce have three ways. `Ask` chooses a broker, waits for its connection, retries and
backs off. `Bootstrap` asks the bootstrap servers, each on a connection of its own. `Setup` sends the
requests before a connection is in service.

The files:

    engine          the parts of a producer, put together; the core's shell
    owner           calls from the parts of `net` to the engine
    parts           the parts of the core, made from the configuration
    lifecycle       the start and stop of a producer as states
    place           the check of each call: the running loop or its thread
    upkeep          timers that let records expire; turns that place waiting records
    cluster         nodes, metadata, a broker and a sender for each node
    bootstrap       the search for the cluster by its addresses
    target          the brokers that can answer a request, chosen for each attempt
    ask             requests outside the produce path; the race between brokers
    verification    the check that a new connection leads to the known cluster
    sender_factory  makes the senders, from the parts that they share
    sender          the send loop of one broker
    compressor      compression, in threads where it takes long
    retry_log       one line of the log for many retries
    broker          one broker: the reconnect loop, its states and their transitions
    setup           the steps between TCP and a connection in service
    channel         one live connection: requests, deadlines, throttle, idle time
    exchange        one request whose response a task awaits
    authenticator   SASL on one connection, and when to do it again
    renewal         the authentication on a live connection, before its session ends
    credentials     the mechanism of each authentication, from the options
    tokens          the token for OAUTHBEARER, one request for all connections, renewed in time
    oauth           one request to a token endpoint
    assertion       the signed assertions of the JWT bearer grant
    providers       the user's callables that give credentials
    mismatch        listener and client that disagree on TLS or SASL
    tls             the context of each new TLS connection, renewed with its files
    tls_files       certificates and keys out of files and texts
    tls_transport   TLS over a transport
    handshake       the reasons of failed TLS handshakes, as sentences
    certificate     the fields of a certificate that errors name
    transport       one TCP connection; the choice between the addresses of a host name
    endpoint        the address of a broker, and its state over all connections
    client_context  the settings and services that all connections share
    producer_id     the task that requests a producer id
    tasks           the task group
    outages         the present causes of an outage, for errors
    causes          texts for errors of the operating system
    timer           timeouts that read the sockets before they decide
"""

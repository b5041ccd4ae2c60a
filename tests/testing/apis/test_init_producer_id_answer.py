from aioproducer.error_code import ErrorCode
from aioproducer.protocol.init_producer_id import InitProducerIdRequest
from aioproducer.testing import ApiKey, FakeCluster
from tests.testing.raw_client import RawClient

IDEMPOTENT = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=2**31 - 1)


async def test_every_response_has_new_id() -> None:
    """Each version and each node gives another producer id."""
    async with FakeCluster(2) as cluster:
        ids = set()
        for node_id in (1, 2):
            async with await RawClient.connect(cluster, node_id) as client:
                for version in range(6):
                    response = await client.ask(IDEMPOTENT, version)
                    assert (response.error_code, response.producer_epoch) == (ErrorCode.NONE, 0)
                    ids.add(response.producer_id)
        assert len(ids) == 12


async def test_unsupported_requests_are_refused() -> None:
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        transactional = InitProducerIdRequest(transactional_id="t", transaction_timeout_ms=1000)
        assert (await client.ask(transactional, 4)).error_code == ErrorCode.INVALID_REQUEST
        half = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1, producer_id=5)
        assert (await client.ask(half, 4)).error_code == ErrorCode.INVALID_REQUEST


async def test_scripted_error_is_answered() -> None:
    async with FakeCluster() as cluster, await RawClient.connect(cluster) as client:
        cluster.on(ApiKey.INIT_PRODUCER_ID).answer(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        response = await client.ask(IDEMPOTENT, 4)
        assert (response.error_code, response.producer_id) == (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, -1)
        assert (await client.ask(IDEMPOTENT, 4)).error_code == ErrorCode.NONE

"""The Valkey servers of the tests: started, killed, started again and ended."""

import pytest
import redis

from tests.servers.valkey import DURABLE, Server, running_valkey


def client(server: Server) -> redis.Redis:
    return redis.Redis.from_url(server.url, socket_timeout=5)


def test_a_durable_server_has_its_data_after_a_kill() -> None:
    with running_valkey(DURABLE) as server:
        with client(server) as before:
            before.set("k", "v")
        server.kill()
        with client(server) as away, pytest.raises(redis.ConnectionError):
            away.ping()
        server.start()
        with client(server) as after:
            assert after.get("k") == b"v"


def test_two_servers_share_nothing_and_leave_nothing() -> None:
    with running_valkey() as one, running_valkey() as other:
        with client(one) as first, client(other) as second:
            first.set("k", "v")
            assert second.get("k") is None
        roots = (one.root, other.root)
        assert all(root.is_dir() for root in roots)
    assert not any(root.exists() for root in roots)


def test_a_frozen_server_answers_after_it_was_thawed() -> None:
    with running_valkey() as server, client(server) as connected:
        server.freeze()
        with redis.Redis.from_url(server.url, socket_timeout=0.05) as hasty, pytest.raises(redis.TimeoutError):
            hasty.ping()
        server.thaw()
        assert connected.ping()

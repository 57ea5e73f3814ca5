"""Sessions of ``gru-native serve`` outlive connections, servers and models, in each store."""

from __future__ import annotations

import asyncio
import re
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cases import Array, assert_same_bits
from serving import RedisServer, Server, refused
from websockets.exceptions import ConnectionClosedError

import gru_native as gn
from gru_native import nn
from gru_native.serve import store as stores
from gru_native.serve.batcher import Batcher
from gru_native.serve.keeper import Keeper
from gru_native.serve.live import Session
from gru_native.serve.metrics import Metrics
from gru_native.serve.settings import Settings
from gru_native.serve.store import Full, Held, Stored, Write, open_store

ADMIN = {"GRU_NATIVE_SERVE_TOKENS": "admin=0123456789abcdef,user=0123456789abcdeg"}
BY_ADMIN = {"authorization": "Bearer 0123456789abcdef"}
BY_USER = {"additional_headers": {"Authorization": "Bearer 0123456789abcdeg"}}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    own = RedisServer(tmp_path)
    yield own
    if own.process.poll() is None:
        own.stop()


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where sessions are kept."""
    return request.getfixturevalue("redis").url if request.param == "redis" else str(tmp_path / "sessions.db")


@pytest.fixture
def model() -> nn.Sequential:
    return nn.Sequential(nn.GRU(3, 6, seed=0), nn.Linear(6, 2, seed=0))


@pytest.fixture
def start(tmp_path: Path, model: nn.Sequential) -> Iterator[Callable[..., Server]]:
    """What starts servers of the model, which end with the test."""
    gn.save(model, tmp_path / "model.safetensors")
    servers: list[Server] = []

    def started(store: str, *options: object, **environment: str) -> Server:
        options = ("--store", store, "--lease", 2, *options)
        servers.append(Server(tmp_path, tmp_path / "model.safetensors", *options, **environment))
        return servers[-1]

    yield started
    for own in servers:
        own.__exit__()


class Client(threading.Thread):
    """Takes steps until the connection ends, and notes what was acknowledged."""

    def __init__(self, server: Server, x: Array, durability: str) -> None:
        super().__init__()
        self.x, self.step, self.durable, self.y = x, 0, 0, list[Array]()
        self.some = threading.Event()  # that some steps were acknowledged
        self._server, self._query = server, f"durability={durability}"

    def run(self) -> None:
        with suppress(Exception), self._server.session(query=self._query) as live:
            self.name = live.name
            for row in self.x:
                self.y.append(live.take(row))
                self.step, self.durable = live.step, live.durable
                if live.step == 10:
                    self.some.set()


# ---- Ends of servers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["each", "3"])
def test_kill_9_under_load(
    start: Callable[..., Server], place: str, model: nn.Sequential, rng: np.random.Generator, durability: str
) -> None:
    x = rng.normal(size=(6, 20_000, 3)).astype(np.float32)
    server = start(place)
    clients = [Client(server, own, durability) for own in x]
    for own in clients:
        own.start()
    for own in clients:
        assert own.some.wait(60)
    server.stop(signal.SIGKILL)
    for own in clients:
        own.join()
    again = start(place)
    for own in clients:
        expected = model(own.x[: own.step + 5])[0]
        assert_same_bits(np.stack(own.y), expected[: own.step], "what was acknowledged")
        with again.session(own.name) as live:
            if durability == "each":
                assert own.step == own.durable <= live.step <= own.step + 1
            else:
                assert own.durable == own.step - own.step % 3
                assert own.durable <= live.step <= own.durable + 3
                assert live.step % 3 == 0
            for step in range(live.step, own.step + 5):
                assert_same_bits(live.take(own.x[step]), expected[step], "after the restart")


def test_sigterm_drains(
    start: Callable[..., Server], place: str, model: nn.Sequential, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(12, 3)).astype(np.float32)
    server = start(place, "--deadline", 0.2)
    # Beside a session that sends nothing, the other's steps wait for their deadline.
    with server.session(), server.session(query="durability=none") as live:
        for row in x[:8]:
            live.send(row)
        live.receive()
        server.process.send_signal(signal.SIGTERM)
        got = 1
        with suppress(Exception):
            while True:
                live.receive()
                got += 1
        assert live.socket.close_code == 1012
        assert "going down" in live.socket.close_reason
    assert server.process.wait(60) == 0
    assert [line["sessions"] for line in server.lines() if line["event"] == "draining"] == [2]
    assert not [line for line in server.lines() if line["level"] != "info"]
    with start(place).session(live.name) as again:
        assert again.step == got == live.step
        assert_same_bits(again.take(x[got]), model(x)[0][got], "after the drain")


def test_a_session_whose_store_fails_is_closed(
    start: Callable[..., Server], redis: RedisServer, model: nn.Sequential, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(4, 3)).astype(np.float32)
    server = start(redis.url, "--lease", 8)
    with server.session(query="durability=each") as live:
        live.take(x[0])
        redis.stop(signal.SIGKILL)
        live.send(x[1])
        assert live.closed() == (1011, "the store failed; go on from the last durable step")
    assert refused(server)[0] == 503
    assert server.request("/readyz").status == 503
    redis.start()
    while server.request("/readyz").status != 200:
        pass
    with start(redis.url).session(live.name) as again:  # the first server could not give it back
        assert again.step == 1
        assert_same_bits(again.take(x[1]), model(x)[0][1], "after the store came back")
    errors = [line["error"] for line in server.lines() if line["event"] == "the store failed"]
    assert errors
    assert all(re.fullmatch(r"ConnectionError: .+", own) for own in errors), errors  # in one line


def test_a_server_ends_without_its_store(start: Callable[..., Server], redis: RedisServer) -> None:
    server = start(redis.url)
    redis.stop(signal.SIGKILL)
    assert server.stop(signal.SIGTERM) == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("durability", ["each", "none"])
def test_a_server_ends_in_time_beside_a_store_that_stands_still(
    start: Callable[..., Server], redis: RedisServer, durability: str
) -> None:
    server = start(redis.url, "--lease", 60, "--drain", 4)  # of a call the store has a quarter of the lease
    with server.session(query=f"durability={durability}") as live:
        live.take(np.zeros(3, np.float32))
        redis.process.send_signal(signal.SIGSTOP)
        try:
            live.send(np.ones(3, np.float32))
            begun = time.monotonic()
            assert server.stop(signal.SIGTERM) == 0
            assert time.monotonic() - begun < 6
        finally:
            redis.process.send_signal(signal.SIGCONT)
    errors = [line["event"] for line in server.lines() if line["level"] == "error"]
    assert errors[0] == "the store did not answer before the end"
    assert "Traceback" not in server.log.read_text()


def test_a_server_whose_disk_is_full_is_not_ready(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start(str(tmp_path / "own.db"))
    with server.session(query="durability=each") as live:
        live.take(np.zeros(3, np.float32))
        assert server.request("/readyz").status == 200
        room, most = (tmp_path / "own.db-wal").stat().st_size, resource.RLIM_INFINITY
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (room, most))
        live.send(np.zeros(3, np.float32))
        assert live.closed()[0] == 1011
        assert [server.request("/readyz").status for _ in range(2)] == [503, 503]
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most, most))
        assert server.request("/readyz").status == 200
    with server.session(live.name) as again:
        assert again.step == 1


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_of_sessions_that_is_gone_is_a_store_that_fails(
    start: Callable[..., Server], tmp_path: Path, suffix: str, replaced: bool
) -> None:
    server = start(str(tmp_path / "own.db"))
    name, elsewhere = tmp_path / f"own.db{suffix}", tmp_path / "elsewhere"
    with server.session(query="durability=each") as live:
        live.take(np.zeros(3, np.float32))
        name.rename(elsewhere)
        if replaced:
            name.write_bytes(elsewhere.read_bytes())
        with pytest.raises(ConnectionClosedError, match="1011"):
            live.take(np.zeros(3, np.float32))
        assert server.request("/readyz").status == 503
        assert refused(server)[0] == 503
        assert str(name) in next(line["error"] for line in server.lines() if line["event"] == "the store failed")
        elsewhere.rename(name)
        assert server.request("/readyz").status == 200
    with server.session(live.name) as again:
        assert again.step == 1


# ---- Owners ---------------------------------------------------------------------------------------------------------


def test_a_new_connection_takes_the_session_over(
    start: Callable[..., Server], place: str, model: nn.Sequential, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(5, 3)).astype(np.float32)
    server = start(place)
    with server.session(query="durability=none") as old:
        for row in x[:2]:
            old.take(row)
        with server.session(old.name) as new:
            assert old.closed() == (4409, "the session has another connection")
            assert new.step == 2
            assert_same_bits(new.take(x[2]), model(x)[0][2], "the new connection")
    with server.session(old.name, source_address=("127.0.0.2", 0)) as elsewhere:
        assert elsewhere.step == 3


def test_a_session_of_others_is_as_if_it_were_not(
    start: Callable[..., Server], place: str, model: nn.Sequential, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(2, 3)).astype(np.float32)
    server = start(place, **ADMIN)
    by_admin = {"additional_headers": {"Authorization": BY_ADMIN["authorization"]}}
    with server.session(**BY_USER) as live:
        for step in range(2):  # before and after others ask, it has its connection
            assert_same_bits(live.take(x[step]), model(x)[0][step], f"step {step}")
            for name in (live.name, "x" * 32):
                assert refused(server, name, **by_admin) == (404, "there is no such session")
                assert server.request(f"/v1/sessions/{name}", method="DELETE", **BY_ADMIN).status == 404


@pytest.mark.parametrize("durability", ["each", "none"])
def test_a_replica_takes_a_session_over(
    start: Callable[..., Server], redis: RedisServer, model: nn.Sequential, rng: np.random.Generator, durability: str
) -> None:
    x = rng.normal(size=(5, 3)).astype(np.float32)
    first, second = start(redis.url), start(redis.url)
    with first.session(query=f"durability={durability}") as old:
        for row in x[:2]:
            old.take(row)
        with second.session(old.name) as new:  # the first one lives, and lets go
            assert old.closed() == (4409, "another server goes on with the session")
            assert new.step == 2
            for step in (2, 3):
                assert_same_bits(new.take(x[step]), model(x)[0][step], "the other replica")
            if durability == "each":
                assert second.stop(signal.SIGKILL) == -signal.SIGKILL
    with first.session(old.name) as again:  # once the lease of the dead one is over, if it did not let go
        assert again.step == 4
        assert_same_bits(again.take(x[4]), model(x)[0][4], "back again")


@pytest.mark.parametrize("durability", ["each", "none"])
def test_a_server_that_was_frozen_acknowledges_nothing(
    start: Callable[..., Server], redis: RedisServer, rng: np.random.Generator, durability: str
) -> None:
    x = rng.normal(size=(3, 3)).astype(np.float32)
    first, second = start(redis.url), start(redis.url)
    with first.session(query=f"durability={durability}") as old:
        old.take(x[0])
        first.process.send_signal(signal.SIGSTOP)
        with second.session(old.name) as new:
            assert new.step == (1 if durability == "each" else 0)
            new.take(x[1])
            old.send(x[2])
            first.process.send_signal(signal.SIGCONT)
            assert old.closed()[0] == 4409
            assert old.step == 1
            new.take(x[2])
            assert new.step == (3 if durability == "each" else 2)


def test_no_step_is_acknowledged_without_a_lease(model: nn.Sequential) -> None:
    keeper = SimpleNamespace(lease_ends=0.0)
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def step() -> None:
        batcher = Batcher(model.pool(1), Settings(), keeper, Metrics())
        session = Session("name", "owner", 1, 1.0)
        session.connect(send, lambda: None)
        session.row, batcher.members = batcher.pool.open(), 1
        batcher.push(session, bytes(12))

    asyncio.run(step())
    assert [(message["type"], message.get("code")) for message in sent] == [("websocket.close", 4409)]


def test_a_session_without_steps_is_let_go(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start(str(tmp_path / "own.db"), "--idle", 2)
    with server.session() as live:
        assert live.closed() == (4408, "no step for 2 seconds")
    with server.session(live.name) as again:
        time.sleep(1)  # in which the server looks again: the time of this connection counts alone
        again.take(np.zeros(3, np.float32))
        assert again.step == 1


# ---- Models ---------------------------------------------------------------------------------------------------------


def test_a_new_model_is_taken_over_without_a_stop(
    start: Callable[..., Server], model: nn.Sequential, rng: np.random.Generator, tmp_path: Path
) -> None:
    x = rng.normal(size=(6, 3)).astype(np.float32)
    other, third = (nn.Sequential(nn.GRU(3, 9, seed=own), nn.Linear(9, 4, seed=own)) for own in (1, 2))
    server = start(str(tmp_path / "own.db"), **ADMIN)
    before = server.request("/v1/model", **BY_ADMIN).json()["digest"]
    with server.session(**BY_USER) as old:
        assert_same_bits(old.take(x[0]), model(x)[0][0], "before")
        gn.save(other, server.model)
        after = server.request("/admin/reload", b"", **BY_ADMIN).json()
        assert after["digest"] != before
        assert after["output_size"] == 4
        assert_same_bits(old.take(x[1]), model(x)[0][1], "the weights that it began with")
        with server.session(**BY_USER) as new:
            assert new.greeting["model"] == after["digest"]
            assert_same_bits(new.take(x[0]), other(x)[0][0], "the new weights")
        with server.session(old.name, **BY_USER) as again:
            assert old.closed()[0] == 4409
            assert_same_bits(again.take(x[2]), model(x)[0][2], "a new connection")
            gn.save(third, server.model)
            server.process.send_signal(signal.SIGHUP)
            assert again.closed() == (4410, "the model was replaced")
    status, message = refused(server, old.name, **BY_USER)
    assert status == 410
    assert before in message
    with server.session(new.name, **BY_USER) as again:
        assert_same_bits(again.take(x[1]), other(x)[0][1], "the model before")
    server.model.write_bytes(b"damaged")
    got = server.request("/admin/reload", b"", **BY_ADMIN)
    assert got.status == 409
    assert "the model stays as it is" in got.json()["error"]
    with server.session(**BY_USER) as live:
        assert_same_bits(live.take(x[0]), third(x)[0][0], "the model stays")


def test_after_a_restart_a_session_waits_for_its_weights(
    start: Callable[..., Server], place: str, model: nn.Sequential, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(2, 3)).astype(np.float32)
    first = start(place)
    with first.session() as old:
        old.take(x[0])
    first.stop(signal.SIGTERM)
    gn.save(nn.GRU(3, 9, seed=1), first.model)
    second = start(place)
    assert refused(second, old.name)[0] == 410
    second.stop(signal.SIGTERM)
    gn.save(model, first.model)
    with start(place).session(old.name) as again:
        assert_same_bits(again.take(x[1]), model(x)[0][1], "the weights that it began with")


def test_the_same_weights_again_end_no_session(start: Callable[..., Server], tmp_path: Path) -> None:
    server = start(str(tmp_path / "own.db"), **ADMIN)
    gn.save(nn.GRU(3, 9, seed=1), server.model)
    with server.session(**BY_USER) as old:
        for _ in range(3):
            assert server.request("/admin/reload", b"", **BY_ADMIN).status == 200
        old.take(np.zeros(3, np.float32))
    assert server.metric("reloads_total") == 1


def test_weights_that_come_back_end_no_session(
    start: Callable[..., Server], model: nn.Sequential, rng: np.random.Generator, tmp_path: Path
) -> None:
    x = rng.normal(size=(4, 3)).astype(np.float32)
    server, other = start(str(tmp_path / "own.db"), **ADMIN), nn.GRU(3, 9, seed=1)

    def reload(model: nn.Module) -> None:
        gn.save(model, server.model)
        assert server.request("/admin/reload", b"", **BY_ADMIN).status == 200

    with server.session(**BY_USER) as old:
        old.take(x[0])
        reload(other)
        with server.session(**BY_USER) as between:
            assert_same_bits(between.take(x[0]), other(x)[0][0], "the weights between")
            reload(model)
            with server.session(**BY_USER) as new:
                assert new.greeting["model"] == old.greeting["model"]
                assert_same_bits(new.take(x[0]), model(x)[0][0], "a new session")
            assert_same_bits(old.take(x[1]), model(x)[0][1], "the weights that it began with")
            assert_same_bits(between.take(x[1]), other(x)[0][1], "the weights between")
            reload(nn.GRU(3, 9, seed=2))
            assert between.closed() == (4410, "the model was replaced")
        assert_same_bits(old.take(x[2]), model(x)[0][2], "the model before")
    assert server.metric("reloads_total") == 3


def test_a_session_of_other_weights_can_be_ended(start: Callable[..., Server], place: str) -> None:
    server = start(place, "--kept-per-client", 1, **ADMIN)
    with server.session(**BY_USER) as old:
        old.take(np.zeros(3, np.float32))
    for seed in (1, 2):
        gn.save(nn.GRU(3, 9, seed=seed), server.model)
        server.request("/admin/reload", b"", **BY_ADMIN)
    assert refused(server, old.name, **BY_USER)[0] == 410
    assert refused(server, **BY_USER)[0] == 429
    by_user = {"authorization": BY_USER["additional_headers"]["Authorization"]}
    assert server.request(f"/v1/sessions/{old.name}", method="DELETE", **by_user).status == 204
    with server.session(**BY_USER) as new:
        new.take(np.zeros(3, np.float32))


def test_a_connected_session_is_told_that_it_was_ended(start: Callable[..., Server], place: str) -> None:
    server = start(place)
    with server.session() as live:
        assert server.request(f"/v1/sessions/{live.name}", method="DELETE").status == 204
        assert live.closed() == (4409, "the session was ended for good")
    assert refused(server, live.name)[0] == 404


def test_a_new_model_may_have_larger_frames(start: Callable[..., Server], tmp_path: Path) -> None:
    wide = nn.GRU(2000, 3, seed=0)
    x = np.ones((1, 2000), np.float32)
    server = start(str(tmp_path / "own.db"), **ADMIN)
    gn.save(wide, server.model)
    assert server.request("/admin/reload", b"", **BY_ADMIN).status == 200
    with server.session(**BY_USER) as live:
        assert_same_bits(live.take(x[0]), wide(x)[0][0], "the new model")


# ---- Stores ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(place: str) -> Settings:
    return Settings(store=place, kept=3, kept_per_client=2, idle=1, keep=1, lease=0.3)


def taken(store: stores.Store, name: str, owner: str | None = "ann") -> Stored | None:
    with store.transaction():
        return store.take(name, owner)


def test_a_store_keeps_what_was_put(settings: Settings) -> None:
    with closing(open_store(settings)) as store:
        with store.transaction():
            fence = store.create("a", "ann", "digest", "each")
        with store.transaction():
            assert store.put([Write("a", fence, 7, b"\0state\xff", b"\xfe\0")]) == set()
    with closing(open_store(settings)) as store:
        assert taken(store, "a", "bob") is taken(store, "b") is taken(store, "b", None) is None
        found = taken(store, "a")
        assert found == Stored("digest", "each", fence + 1, 7, b"\0state\xff", b"\xfe\0")
        assert taken(store, "a", None).step == 7


def test_an_older_fence_writes_nothing(settings: Settings) -> None:
    with closing(open_store(settings)) as store:
        with store.transaction():
            old, other = (store.create(name, "ann", "digest", "each") for name in "ab")
        new = taken(store, "a").fence
        assert new > old
        with store.transaction():
            assert store.put([Write("a", old, 9, b"old", b""), Write("b", other, 1, b"b", b"")]) == {"a"}
            store.delete("a", old)
        assert taken(store, "a").step == 0
        assert taken(store, "b").state == b"b"


def test_limits_in_all_and_of_an_owner(settings: Settings) -> None:
    with closing(open_store(settings)) as store:

        def create(name: str, owner: str) -> int:
            with store.transaction():
                return store.create(name, owner, "digest", "none")

        fences = [create(name, "ann") for name in "ab"]
        with pytest.raises(Full, match="^kept_per_client$"):
            create("c", "ann")
        create("c", "bob")
        with pytest.raises(Full, match="^kept$"):
            create("d", "eve")
        with store.transaction():
            store.delete("a", fences[0])
        create("d", "ann")


def test_sessions_are_kept_for_their_time(settings: Settings) -> None:
    with closing(open_store(settings)) as store:
        begun = time.monotonic()
        with store.transaction():
            for name in "ab":
                store.create(name, "ann", "digest", "none")
        while time.monotonic() - begun < 1.5:
            with store.transaction():
                store.renew(["a"])
            time.sleep(0.1)
        assert taken(store, "a") is not None
        with store.transaction():
            assert store.take("b", "ann") is None
            store.create("c", "ann", "digest", "none")  # in the place of b


def test_a_session_of_a_living_server_is_asked_for(redis: RedisServer) -> None:
    settings = Settings(store=redis.url, lease=60)
    with closing(open_store(settings)) as first, closing(open_store(settings)) as second:
        fence = first.create("a", "ann", "digest", "none")
        with pytest.raises(Held):
            second.take("a", "ann")
        assert first.renew(["a"]) == ["a"]
        assert first.renew(["a"]) == []
        second.release("a")  # which it does not have
        with pytest.raises(Held):
            second.take("a", "ann")
        first.release("a")
        assert second.take("a", "ann").fence == fence + 1
        with pytest.raises(Held):
            first.take("a", "ann")


def test_a_session_that_is_taken_is_kept_anew(redis: RedisServer) -> None:
    with closing(open_store(Settings(store=redis.url, lease=60, keep=6, idle=6))) as store:
        store.create("a", "ann", "digest", "none")
        time.sleep(3)  # no renewal: a server touches the sessions that it has a few times in `keep`
        store.take("a", "ann")
        time.sleep(4)
        assert store.take("a", "ann")


def test_a_call_that_redis_refuses_fails_alone(redis: RedisServer) -> None:
    store = open_store(Settings(store=redis.url))
    store._redis.set("gru_native:session:b", "no session")

    async def create() -> list[object]:
        keeper = Keeper(store, Metrics())
        calls = [keeper.call(store.create, name, "ann", "digest", "none") for name in "abc"]
        found = await asyncio.gather(*calls, return_exceptions=True)  # the last two together
        await keeper.close()
        return found

    first, wrong, last = asyncio.run(create())
    assert (first, last) == (1, 1)
    assert "WRONGTYPE" in str(wrong)


def test_a_failed_transaction_stores_nothing(tmp_path: Path) -> None:
    with closing(open_store(Settings(store=str(tmp_path / "own.db")))) as store:
        with suppress(KeyError), store.transaction():
            store.create("a", "ann", "digest", "none")
            raise KeyError
        assert taken(store, "a") is None

"""Sessions in Redis or Valkey, which several servers share.

A session is a hash. A server that lives has a key of its own, which expires with its lease; a session's ``holder`` may
be taken from when that key is gone. Whoever asks for a session of a living server leaves its name for that one.
"""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext, suppress

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from gru_native.serve.settings import Settings, SettingsError
from gru_native.serve.store import Full, Held, Stored, Write

_log = logging.getLogger(__name__)
_PREFIX = "gru_native:"
_SESSION, _SERVER, _WANTED, _OWNER = (f"{_PREFIX}{kind}:" for kind in ("session", "server", "wanted", "owner"))
_ALL = f"{_PREFIX}sessions"
_AT_ONCE = 1000  # sessions of a call
_NOW = "local now = redis.call('TIME')[1] + 0\n"

# Sessions in all and of an owner are in sorted sets, by the time when they expire.
_CREATE = f"""{_NOW}
for i = 2, 3 do redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now) end
for i = 2, 3 do if redis.call('ZCARD', KEYS[i]) >= ARGV[i] + 0 then return i end end
redis.call('HSET', KEYS[1], 'owner', ARGV[5], 'model', ARGV[6], 'durability', ARGV[7], 'holder', ARGV[8], 'fence', 1,
           'step', 0, 'state', '', 'y', '')
redis.call('EXPIRE', KEYS[1], ARGV[1])
for i = 2, 3 do redis.call('ZADD', KEYS[i], now + ARGV[1], ARGV[4]) end
return 0
"""
_TAKE = f"""
local owner = redis.call('HGET', KEYS[1], 'owner')
if not owner or (ARGV[2] ~= '' and owner ~= ARGV[2]) then return false end
local holder = redis.call('HGET', KEYS[1], 'holder')
if holder ~= '' and holder ~= ARGV[3] and redis.call('EXISTS', '{_SERVER}' .. holder) == 1 then
    redis.call('SADD', '{_WANTED}' .. holder, ARGV[1])
    redis.call('EXPIRE', '{_WANTED}' .. holder, ARGV[4])
    return 0
end
redis.call('HINCRBY', KEYS[1], 'fence', 1)
redis.call('HSET', KEYS[1], 'holder', ARGV[3])
return redis.call('HMGET', KEYS[1], 'model', 'durability', 'fence', 'step', 'state', 'y')
"""
_PUT = """
local lost = {}
for i, key in ipairs(KEYS) do
    local at = 4 * (i - 1)
    if redis.call('HGET', key, 'fence') == ARGV[at + 1] then
        redis.call('HSET', key, 'step', ARGV[at + 2], 'state', ARGV[at + 3], 'y', ARGV[at + 4])
    else
        lost[#lost + 1] = i
    end
end
return lost
"""
_RELEASE = "if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then redis.call('HSET', KEYS[1], 'holder', '') end"
_DELETE = """
if redis.call('HGET', KEYS[1], 'fence') == ARGV[2] then
    redis.call('ZREM', KEYS[2], ARGV[1])
    redis.call('ZREM', ARGV[3] .. redis.call('HGET', KEYS[1], 'owner'), ARGV[1])
    redis.call('DEL', KEYS[1])
end
"""
_TOUCH = f"""{_NOW}
for i = 2, #KEYS do
    local owner = redis.call('HGET', KEYS[i], 'owner')
    if owner then
        redis.call('EXPIRE', KEYS[i], ARGV[1])
        redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i])
        redis.call('ZADD', '{_OWNER}' .. owner, now + ARGV[1], ARGV[i])
    end
end
"""


class RedisStore:
    """See `gru_native.serve.store.Store`."""

    alone: tuple[type[Exception], ...] = (ResponseError,)

    def __init__(self, settings: Settings) -> None:
        self.lease = settings.lease
        self._keep, self._most, self._most_of_owner = math.ceil(settings.keep), settings.kept, settings.kept_per_client
        self._holder, self._touched = secrets.token_urlsafe(12), time.monotonic()
        scheme, _, rest = settings.store.partition("://")
        place = rest.partition("?")[0].partition("/")[2]
        try:
            if scheme != "unix" and place and not place.isdecimal():
                raise ValueError("a database without a number")
            retry = Retry(ExponentialBackoff(cap=0.5, base=0.05), 2)
            seconds = settings.lease / 4
            self._redis = redis.Redis.from_url(
                settings.store, retry=retry, socket_timeout=seconds, socket_connect_timeout=seconds
            )
            scripts = _CREATE, _TAKE, _PUT, _RELEASE, _DELETE, _TOUCH
            self._create, self._take, self._put, self._release, self._delete, self._touch = map(
                self._redis.register_script, scripts
            )
            self.renew([])
        except RedisError as error:
            raise SettingsError(f"store: {error}") from None
        except (TypeError, ValueError):  # what came is not shown: any part of it may be one of a password
            expected = "a URL such as redis://HOST:PORT/0 or unix:///SOCKET?db=0, with %2F and the like in a password"
            raise SettingsError(f"store: expected {expected}") from None
        self._warn()

    def _warn(self) -> None:
        try:
            names = "appendonly", "appendfsync", "maxmemory", "maxmemory-policy"
            found = {name: self._redis.config_get(name)[name] for name in names}
        except (RedisError, KeyError):  # others than its owner may not ask
            return
        if (found["appendonly"], found["appendfsync"]) != ("yes", "always"):
            _log.warning("this Redis may lose what it acknowledged: it needs appendonly yes, appendfsync always")
        if found["maxmemory"] != "0" and found["maxmemory-policy"] != "noeviction":
            _log.warning("this Redis may drop sessions when it is full: it needs maxmemory-policy noeviction")

    def transaction(self) -> AbstractContextManager[object]:
        return nullcontext()

    def create(self, name: str, owner: str, model: str, durability: str) -> int:
        given = self._keep, self._most, self._most_of_owner, name, owner, model, durability, self._holder
        if full := self._create([_SESSION + name, _ALL, _OWNER + owner], given):
            raise Full("kept" if full == 2 else "kept_per_client")
        return 1

    def take(self, name: str, owner: str | None) -> Stored | None:
        found = self._take([_SESSION + name], [name, owner or "", self._holder, math.ceil(self.lease)])
        if found == 0:
            raise Held
        if found is None:
            return None
        self._touch([_ALL, _SESSION + name], [self._keep, name])
        model, durability, fence, step, state, y = found
        return Stored(model.decode(), durability.decode(), int(fence), int(step), state, y)

    def put(self, writes: Iterable[Write]) -> set[str]:
        writes = list(writes)
        if not writes:
            return set()
        given = [part for own in writes for part in (own.fence, own.step, own.state, own.y)]
        lost = self._put([_SESSION + own.name for own in writes], given)
        return {writes[place - 1].name for place in lost}

    def release(self, name: str) -> None:
        self._touch([_ALL, _SESSION + name], [self._keep, name])
        self._release([_SESSION + name], [self._holder])

    def delete(self, name: str, fence: int) -> None:
        self._delete([_SESSION + name, _ALL], [name, fence, _OWNER])

    def renew(self, names: list[str]) -> list[str]:
        self._redis.set(_SERVER + self._holder, 1, px=int(1000 * self.lease))
        if time.monotonic() - self._touched > self._keep / 4:
            self._touched = time.monotonic()
            for start in range(0, len(names), _AT_ONCE):
                some = names[start : start + _AT_ONCE]
                self._touch([_ALL, *(_SESSION + name for name in some)], [self._keep, *some])
        with self._redis.pipeline() as pipeline:
            wanted, _ = pipeline.smembers(_WANTED + self._holder).delete(_WANTED + self._holder).execute()
        return [name.decode() for name in wanted]

    def close(self) -> None:
        with suppress(RedisError):  # the lease ends by itself
            self._redis.delete(_SERVER + self._holder)
        self._redis.close()

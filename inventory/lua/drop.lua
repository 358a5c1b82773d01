#!lua flags=allow-oom
-- Drops a load that was abandoned, unless it was installed after all. Also when memory is full, for the load may be what
-- fills it.
--
-- KEYS   current, then all keys of the epoch      ARGV  epoch      Reply  OK
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
    redis.call('UNLINK', unpack(KEYS, 2))
end
return redis.status_reply('OK')

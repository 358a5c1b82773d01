#!lua flags=allow-oom
-- A load that was given up: its keys go, unless it was installed after all. Also when memory is full, for then they may be
-- what fills it.
--
-- KEYS   cur  c  u  d  o  k  a  v      ARGV  epoch      Reply  OK
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
    redis.call('UNLINK', unpack(KEYS, 2))
end
return redis.status_reply('OK')

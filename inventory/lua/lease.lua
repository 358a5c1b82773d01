#!lua
-- Takes, renews or (ttl 0) gives back a lease, which has one holder at a time. All ask for the same time, so a lease that
-- lasts longer was given before the clock was set back: it is free.
--
-- KEYS   the lease      ARGV  start id; ttl in ms
-- Reply  the start id that holds it now (empty: none), for how many ms
local kind = redis.call('TYPE', KEYS[1]).ok
local holder = kind == 'string' and redis.call('GET', KEYS[1])
if kind ~= 'none' and (not holder or #holder ~= #ARGV[1] or redis.call('PTTL', KEYS[1]) == -1) then
    return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ' is a ' .. kind .. ' of another program')
end
local lasts, ttl = redis.call('PTTL', KEYS[1]), tonumber(ARGV[2])
if holder and holder ~= ARGV[1] and (ttl == 0 or lasts <= ttl) then
    return {holder, lasts}
end
if ttl == 0 then
    redis.call('DEL', KEYS[1])
    return {'', 0}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {ARGV[1], ttl}

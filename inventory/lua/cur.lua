#!lua flags=no-writes
-- Which epoch of a sale is installed, and what is left under it. The counters' key is named by the epoch, so its name
-- is only known here; it has the same hash tag.
--
-- KEYS   cur            Reply  epoch, identity (both empty when nothing is installed), fields and values of c
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'hash' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ' is a ' .. kind)
end
local cur = redis.call('HMGET', KEYS[1], 'epoch', 'identity')
if not cur[1] then
    return {'', '', {}}
end
return {cur[1], cur[2] or '', redis.call('HGETALL', string.sub(KEYS[1], 1, -4) .. cur[1] .. ':c')}

#!lua flags=no-writes
-- Which epoch of a sale is installed, and what is left under it. The epoch is part of the name of the counters' key, so
-- that name is known only here; it has the same hash tag.
--
-- KEYS   current        Reply  epoch, identity (both empty when nothing is installed), fields and values of stock
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'hash' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ' is a ' .. kind)
end
local current = redis.call('HMGET', KEYS[1], 'epoch', 'identity')
if not current[1] then
    return {'', '', {}}
end
local sale = string.sub(KEYS[1], 1, -#'current' - 1)
return {current[1], current[2] or '', redis.call('HGETALL', sale .. current[1] .. ':stock')}

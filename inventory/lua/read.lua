#!lua flags=no-writes
-- Looks at a sale under one epoch.
--
-- KEYS   current, then one of: stock (numbers of all SKUs) or applied (offsets); doubt and order (an order); doubt (a page of it)
-- ARGV   epoch; all | entry, id | page, cursor
-- Reply  the word FENCED, or: fields and values | the entry or nothing | now in ms, next cursor, ids and entries; an error names
--        the key that is not ours
local function read()
    if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
        return redis.status_reply('FENCED')
    end
    if ARGV[2] == 'all' then
        return redis.call('HGETALL', KEYS[2])
    elseif ARGV[2] == 'entry' then
        return redis.call('HGET', KEYS[2], ARGV[3]) or redis.call('HGET', KEYS[3], ARGV[3])
    end
    local time = redis.call('TIME')
    local page = redis.call('HSCAN', KEYS[2], ARGV[3], 'COUNT', 100)
    return {time[1] * 1000 + math.floor(time[2] / 1000), page[1], page[2]}
end

local ok, reply = pcall(read)
if ok then
    return reply
end
local text = type(reply) == 'table' and reply.err or tostring(reply)
for i = 1, #KEYS do -- whose key is it?
    local kind = redis.call('TYPE', KEYS[i]).ok
    if kind ~= 'none' and kind ~= 'hash' then
        text = 'WRONGTYPE ' .. KEYS[i] .. ' is a ' .. kind
    end
end
return redis.error_reply(text)

#!lua flags=no-writes
-- Looks at a sale under one epoch.
--
-- KEYS   current, then one of: stock (numbers of all SKUs) or applied (offsets); doubt and order (an order); doubt (a page of it);
--        stock, doubt, order, user (a look at orders and buyers)
-- ARGV   epoch; all | entry, id | page, cursor | look, how many, ids, users
-- Reply  the word FENCED, or: fields and values | the entry or nothing | now in ms, next cursor, ids and entries | fields and
--        values of stock, SKUs and their units by the entries in doubt (nothing: too many to add up), entries in doubt, other
--        entries, buyers; an error names the key that is not ours
local MOST_DOUBTS = 1000

local function add_doubts()
    if redis.call('HLEN', KEYS[3]) > MOST_DOUBTS then
        return false
    end
    local units, list = {}, {}
    for _, entry in ipairs(redis.call('HVALS', KEYS[3])) do
        local _, _, _, quantity, sku = struct.unpack('>Bi8i8i8Bc0', entry)
        units[sku] = (units[sku] or 0) + quantity
    end
    for sku, number in pairs(units) do
        list[#list + 1] = sku
        list[#list + 1] = number
    end
    return list
end

local function look(count)
    local reply = {redis.call('HGETALL', KEYS[2]), add_doubts(), {}, {}, {}}
    if count > 0 then
        reply[3] = redis.call('HMGET', KEYS[3], unpack(ARGV, 4, 3 + count))
        reply[4] = redis.call('HMGET', KEYS[4], unpack(ARGV, 4, 3 + count))
        reply[5] = redis.call('HMGET', KEYS[5], unpack(ARGV, 4 + count, 3 + 2 * count))
    end
    return reply
end

local function read()
    if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
        return redis.status_reply('FENCED')
    end
    if ARGV[2] == 'all' then
        return redis.call('HGETALL', KEYS[2])
    elseif ARGV[2] == 'entry' then
        return redis.call('HGET', KEYS[2], ARGV[3]) or redis.call('HGET', KEYS[3], ARGV[3])
    end
    if ARGV[2] == 'look' then
        return look(tonumber(ARGV[3]))
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

#!lua
-- I am here; who else is, and how are the sales?
--
-- KEYS   gateways, then the cur of each sale that is asked about
-- ARGV   who; what he says of himself (packed); after how many ms one that is silent is forgotten
-- Reply  now in ms; who, age in ms, what he says ... of all gateways; epoch, identity, fields and values of c ... of each sale
--
-- A gateway's own last word lies before its time, so nobody's clock but the server's counts.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function pulse()
    redis.call('HSET', KEYS[1], ARGV[1], struct.pack('>i8', now) .. ARGV[2])

    local members, sales = {}, {}
    local all = redis.call('HGETALL', KEYS[1])
    for i = 1, #all, 2 do
        local said_at, at = struct.unpack('>i8', all[i + 1])
        local age = math.max(0, now - said_at)
        if age > tonumber(ARGV[3]) then
            redis.call('HDEL', KEYS[1], all[i])
        else
            members[#members + 1] = all[i]
            members[#members + 1] = age
            members[#members + 1] = string.sub(all[i + 1], at)
        end
    end
    for i = 2, #KEYS do
        local cur = redis.call('HMGET', KEYS[i], 'epoch', 'identity')
        sales[#sales + 1] = cur[1] or ''
        sales[#sales + 1] = cur[2] or ''
        sales[#sales + 1] = cur[1] and redis.call('HGETALL', string.sub(KEYS[i], 1, -4) .. cur[1] .. ':c') or {}
    end
    return {now, members, sales}
end

local ok, reply = pcall(pulse)
if ok then
    return reply
end
local text = KEYS[1] .. ': ' .. (type(reply) == 'table' and reply.err or tostring(reply))
for i = 1, #KEYS do -- whose key is it?
    local key, kind = KEYS[i], redis.call('TYPE', KEYS[i]).ok
    if i > 1 and kind == 'hash' then
        key = string.sub(KEYS[i], 1, -4) .. (redis.call('HGET', KEYS[i], 'epoch') or '') .. ':c'
        kind = redis.call('TYPE', key).ok
    end
    if kind ~= 'none' and kind ~= 'hash' then
        text = key .. ' is a ' .. kind
    end
end
return redis.error_reply('WRONGTYPE ' .. text)

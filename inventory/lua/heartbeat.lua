#!lua flags=allow-oom
-- I am here; who else is, and how are the sales? Also when memory is full: what is written here is small and does not grow, and
-- a gateway that is not heard of for want of memory would be taken for dead.
--
-- KEYS   gateways, log, then the cur of each sale that is asked about
-- ARGV   who; what he says of himself (packed); after how many ms one that is silent is forgotten; his log (empty: he does not
--        know it yet); 1: it takes the place of none
-- Reply  now in ms; who, age in ms, what he says ... of all gateways; of each sale: epoch, identity, fields and values of c,
--        or, where a key of the sale is not one of ours, which and why, in the place of the fields
--        or, when this Redis counts for another log than his: now; that log (empty: none, and his does not take its place)
--
-- A gateway's own last word lies before its time, so nobody's clock but the server's counts. Where that was set back since, who
-- spoke last in what is the future now counts as having spoken now: else who died before would live on until then.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A key of another type, in words.
local function foreign(key)
    return key .. ' is a ' .. redis.call('TYPE', key).ok
end

-- What is wrong with one sale is told in its place: the others go on.
local function look(key)
    local cur = redis.pcall('HMGET', key, 'epoch', 'identity')
    if cur.err then
        return '', '', foreign(key)
    elseif not cur[1] then
        return '', '', {}
    elseif not string.find(cur[1], '^%d+$') then
        return '', '', key .. ' has an epoch that is no number'
    end
    local c = string.sub(key, 1, -4) .. cur[1] .. ':c'
    local fields = redis.pcall('HGETALL', c)
    return cur[1], cur[2] or '', fields.err and foreign(c) or fields
end

-- The log that is counted for here, from now on his if it was none and may be.
local function whose()
    local log = redis.call('GET', KEYS[2])
    if not log and ARGV[5] == '1' then
        redis.call('SET', KEYS[2], ARGV[4])
        return ARGV[4]
    end
    return log or ''
end

local function pulse()
    local log = ARGV[4] == '' and '' or whose()
    if log ~= ARGV[4] then
        redis.call('HDEL', KEYS[1], ARGV[1])
        return {now, log}
    end
    redis.call('HSET', KEYS[1], ARGV[1], struct.pack('>i8', now) .. ARGV[2])

    local members, sales = {}, {}
    local all = redis.call('HGETALL', KEYS[1])
    for i = 1, #all, 2 do
        local who, said = all[i], all[i + 1]
        local age = #said >= 8 and now - struct.unpack('>i8', said)
        if not age or age > tonumber(ARGV[3]) then -- a stranger's, or long silent
            redis.call('HDEL', KEYS[1], who)
        else
            if age < 0 then
                age = 0
                redis.call('HSET', KEYS[1], who, struct.pack('>i8', now) .. string.sub(said, 9))
            end
            members[#members + 1] = who
            members[#members + 1] = age
            members[#members + 1] = string.sub(said, 9)
        end
    end
    for i = 3, #KEYS do
        local at = #sales
        sales[at + 1], sales[at + 2], sales[at + 3] = look(KEYS[i])
    end
    return {now, members, sales}
end

local ok, reply = pcall(pulse)
if ok then
    return reply
end
for i, want in ipairs({'hash', 'string'}) do
    local kind = redis.call('TYPE', KEYS[i]).ok
    if kind ~= 'none' and kind ~= want then
        return redis.error_reply('WRONGTYPE ' .. foreign(KEYS[i]))
    end
end
return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ': ' .. (type(reply) == 'table' and reply.err or tostring(reply)))

#!lua flags=allow-oom
-- A gateway says that it is here, and learns which others are and how the sales are. Also when memory is full: what is
-- written here is small and does not grow, and a gateway that cannot say it for want of memory would be taken for dead.
--
-- KEYS   gateways, log, then the current of each sale that is asked about
-- ARGV   its start id; its heartbeat (packed); after how many ms a silent gateway is forgotten; its log (empty: it does not
--        know it yet); 1: its log may take this Redis where no log has it
-- Reply  now in ms; start id, age in ms, heartbeat ... of all gateways; of each sale: epoch, identity, fields and values of
--        stock, or, where a key of the sale is not one of ours, which and why, in the place of the fields
--        or, when this Redis counts for another log: now; that log (empty: none, and this one does not take it)
--
-- The time before each heartbeat is the server's, so no other clock counts. Where the server's clock was set back, a time in
-- the future counts as now: else a gateway that died before would live on until then.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A key of another type, in words.
local function describe_foreign(key)
    return key .. ' is a ' .. redis.call('TYPE', key).ok
end

-- A fault of one sale is told in its place: the others go on.
local function read_sale(key)
    local current = redis.pcall('HMGET', key, 'epoch', 'identity')
    if current.err then
        return '', '', describe_foreign(key)
    elseif not current[1] then
        return '', '', {}
    elseif not string.find(current[1], '^%d+$') then
        return '', '', key .. ' has an epoch that is no number'
    end
    local stock = string.sub(key, 1, -#'current' - 1) .. current[1] .. ':stock'
    local fields = redis.pcall('HGETALL', stock)
    return current[1], current[2] or '', fields.err and describe_foreign(stock) or fields
end

-- The log that this Redis counts for; the asker's from now on, if there was none and it may take it.
local function claim_log()
    local log = redis.call('GET', KEYS[2])
    if not log and ARGV[5] == '1' then
        redis.call('SET', KEYS[2], ARGV[4])
        return ARGV[4]
    end
    return log or ''
end

local function read_members()
    local members = {}
    local all = redis.call('HGETALL', KEYS[1])
    for i = 1, #all, 2 do
        local start, heartbeat = all[i], all[i + 1]
        local age = #heartbeat >= 8 and now - struct.unpack('>i8', heartbeat)
        if not age or age > tonumber(ARGV[3]) then -- not written by a gateway, or silent for long
            redis.call('HDEL', KEYS[1], start)
        else
            if age < 0 then
                age = 0
                redis.call('HSET', KEYS[1], start, struct.pack('>i8', now) .. string.sub(heartbeat, 9))
            end
            local at = #members
            members[at + 1], members[at + 2], members[at + 3] = start, age, string.sub(heartbeat, 9)
        end
    end
    return members
end

local function take_heartbeat()
    local log = ARGV[4] == '' and '' or claim_log()
    if log ~= ARGV[4] then
        redis.call('HDEL', KEYS[1], ARGV[1])
        return {now, log}
    end
    redis.call('HSET', KEYS[1], ARGV[1], struct.pack('>i8', now) .. ARGV[2])
    local members, sales = read_members(), {}
    for i = 3, #KEYS do
        local at = #sales
        sales[at + 1], sales[at + 2], sales[at + 3] = read_sale(KEYS[i])
    end
    return {now, members, sales}
end

local ok, reply = pcall(take_heartbeat)
if ok then
    return reply
end
for i, want in ipairs({'hash', 'string'}) do
    local kind = redis.call('TYPE', KEYS[i]).ok
    if kind ~= 'none' and kind ~= want then
        return redis.error_reply('WRONGTYPE ' .. describe_foreign(KEYS[i]))
    end
end
return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ': ' .. (type(reply) == 'table' and reply.err or tostring(reply)))

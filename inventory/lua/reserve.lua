#!lua
-- One step of a sale under one epoch: first what the log has decided (effects), then new reservations, in order.
--
-- KEYS   cur  c  u  d  o  k  a  v
-- ARGV   epoch; owner (16 bytes); effects; items (both packed, numbers big-endian, texts with their length before)
--   effect   1 id verdict                settle            items   1 id quantity cap sku_cap ttl sku user key [digest]
--            2 id units sku              raise                     2 id quantity sku              a lowering
--            3 offset partition          applied up to
-- Reply  the word FENCED, or { answers, sku, left, sku, left ... of each SKU that was touched }
--   answer   result left reserved_at ttl id, 41 bytes
--
-- What the keys hold is written down in inventory/redis_codec.h. Redis does not undo what a script has done before an
-- error, so whatever can fail fails before the first write: a script with this first line does not start on a replica or
-- without memory, and every key's type is looked at.
local call, pack, unpack = redis.call, struct.pack, struct.unpack
local sub, char = string.sub, string.char

for i = 1, 8 do
    if type(redis.pcall(i == 7 and 'SCARD' or 'HLEN', KEYS[i])) == 'table' then
        return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. call('TYPE', KEYS[i]).ok)
    end
end
if call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
    return redis.status_reply('FENCED')
end
local c, u, d, o, k, a, v = KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]

local owner, effects, items = ARGV[2], ARGV[3], ARGV[4]
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local MOST = 9007199254740991
local DOUBT, GIVEN_BACK, LOWERING, LOWERED, GONE = 0, 3, 4, 5, 6
local RESERVED, SOLD_OUT, CAP, DUPLICATE, MISMATCH, CONFLICT = 0, 1, 2, 3, 4, 6
local ENTRY, NOBODY = '>Bi8i8i8Bc0Bc0Bc0', string.rep('\0', 16)

-- A SKU's four numbers: available, in doubt, held, confirmed. Read once, written once, at the end.
local shelves, skus = {}, {}
local function shelf(sku)
    local s = shelves[sku]
    if not s then
        local n = call('HMGET', c, sku, sku .. '/doubt', sku .. '/held', sku .. '/confirmed')
        s = {tonumber(n[1]) or 0, tonumber(n[2]) or 0, tonumber(n[3]) or 0, tonumber(n[4]) or 0}
        shelves[sku] = s
        skus[#skus + 1] = sku
    end
    return s
end

local function tally(s, state, units)
    local place = state == LOWERING and 2 or state + 2
    if place <= 4 then
        s[place] = s[place] + units
    end
    s.changed = true
end

-- A buyer: units over all SKUs, units of each, the ids of his last live orders (oldest first).
local function buyer_of(user)
    local text = call('HGET', u, user)
    if not text then
        return {units = 0, of = {}, ids = ''}
    end
    local units, count, at = unpack('>i8B', text)
    local of = {}
    for _ = 1, count do
        local sku, n
        sku, n, at = unpack('>Bc0i8', text, at)
        of[sku] = n
    end
    return {units = units, of = of, ids = sub(text, at)}
end

local function keep_buyer(user, buyer)
    if buyer.units == 0 then
        call('HDEL', u, user)
        return
    end
    local count, list = 0, ''
    for sku, n in pairs(buyer.of) do
        if n > 0 then
            count = count + 1
            list = list .. pack('>Bc0i8', #sku, sku, n)
        end
    end
    call('HSET', u, user, pack('>i8B', buyer.units, count) .. list .. buyer.ids)
end

local function give_back(user, sku, units, id)
    local buyer = buyer_of(user)
    buyer.units = buyer.units - units
    buyer.of[sku] = (buyer.of[sku] or 0) - units
    for at = 1, #buyer.ids, 16 do
        if sub(buyer.ids, at, at + 15) == id then
            buyer.ids = sub(buyer.ids, 1, at - 1) .. sub(buyer.ids, at + 16)
            break
        end
    end
    keep_buyer(user, buyer)
end

-- The state that follows, by the state before (rows) and the verdict: accepted, void, confirmed, released.
local NEXT = '1623' .. '1123' .. '2222' .. '3333' .. '5644' .. '5555'

local function settle(id, verdict)
    local home, entry = d, call('HGET', d, id)
    if not entry then
        home, entry = o, call('HGET', o, id)
        if not entry then
            return
        end
    end
    local state, quantity, _, _, sku, user, key = unpack(ENTRY, entry)
    local place = state * 4 + verdict + 1
    local next = tonumber(sub(NEXT, place, place))
    if next == state then
        return
    end
    local s = shelf(sku)
    tally(s, state, -quantity)
    tally(s, next, quantity)
    if next == GIVEN_BACK or next == GONE then
        s[1] = s[1] + quantity
        if user ~= '' then
            give_back(user, sku, quantity, id)
        end
    end
    if home == d then
        call('HDEL', d, id)
        entry = sub(entry, 1, -17) -- without its owner
    end
    if next == GONE or (next == GIVEN_BACK and key == '') then
        if home == o then
            call('HDEL', o, id)
        elseif key ~= '' then
            call('HDEL', k, #user .. ':' .. user .. key)
        end
    else
        call('HSET', o, id, char(next) .. sub(entry, 2))
    end
end

local function raise(id, units, sku)
    local s = shelf(sku)
    if units > MOST - s[1] - s[2] - s[3] - s[4] or call('HEXISTS', d, id) == 1 or call('HEXISTS', o, id) == 1 then
        return
    end
    if call('SADD', a, id) == 1 then
        s[1] = s[1] + units
        s.changed = true
    end
end

local function applied(offset, partition)
    if offset > (tonumber(call('HGET', v, partition)) or -1) then
        call('HSET', v, partition, string.format('%d', offset))
    end
end

local at = 1
while at <= #effects do
    local kind, id, n, text
    kind, at = unpack('>B', effects, at)
    if kind == 1 then
        id, n, at = unpack('>c16B', effects, at)
        settle(id, n)
    elseif kind == 2 then
        id, n, text, at = unpack('>c16i8Bc0', effects, at)
        raise(id, n, text)
    else
        n, text, at = unpack('>i8Bc0', effects, at)
        applied(n, text)
    end
end

local answers = {}
local function say(result, s, reserved_at, ttl, id)
    answers[#answers + 1] = pack('>Bi8i8i8c16', result, s[1], reserved_at, ttl, id)
end

-- The id is known already: the same answer again, if it is the same buyer's.
local function say_again(entry, user, s, id)
    local state, _, reserved_at, ttl, _, his = unpack(ENTRY, entry)
    if his ~= user then
        say(CONFLICT, s, 0, 0, NOBODY)
    elseif state == GIVEN_BACK then
        say(DUPLICATE, s, 0, 0, id)
    else
        say(RESERVED, s, reserved_at, ttl, id)
    end
end

local function take(s, id, quantity, reserved_at, ttl, sku, user, key, state)
    s[1] = s[1] - quantity
    tally(s, state, quantity)
    call('HSET', d, id, pack(ENTRY, state, quantity, reserved_at, ttl, #sku, sku, #user, user, #key, key) .. owner)
    say(RESERVED, s, reserved_at, ttl, id)
end

local function reserve(id, quantity, cap, sku_cap, ttl, sku, user, key, digest)
    local s = shelf(sku)
    local entry = call('HGET', d, id) or call('HGET', o, id)
    if entry then
        return say_again(entry, user, s, id)
    end
    local field = key ~= '' and #user .. ':' .. user .. key
    local used = field and call('HGET', k, field)
    if used then
        return say(sub(used, 17) == digest and DUPLICATE or MISMATCH, s, 0, 0, sub(used, 1, 16))
    end
    local buyer = buyer_of(user)
    local of = buyer.of[sku] or 0
    if quantity > cap - buyer.units or (sku_cap > 0 and quantity > sku_cap - of) then
        return say(CAP, s, 0, 0, buyer.ids ~= '' and sub(buyer.ids, -16) or NOBODY)
    end
    if s[1] < quantity then
        return say(SOLD_OUT, s, 0, 0, NOBODY)
    end
    buyer.units = buyer.units + quantity
    buyer.of[sku] = of + quantity
    buyer.ids = sub(buyer.ids, -240) .. id -- the last 16
    keep_buyer(user, buyer)
    if field then
        call('HSET', k, field, id .. digest)
    end
    take(s, id, quantity, now, ttl, sku, user, key, DOUBT)
end

local function lower(id, quantity, sku)
    local s = shelf(sku)
    local entry = call('HGET', d, id) or call('HGET', o, id)
    if entry then
        return say_again(entry, '', s, id)
    end
    if call('SISMEMBER', a, id) == 1 then
        return say(CONFLICT, s, 0, 0, NOBODY)
    end
    if s[1] < quantity then
        return say(SOLD_OUT, s, 0, 0, NOBODY)
    end
    take(s, id, quantity, 0, 0, sku, '', '', LOWERING)
end

at = 1
while at <= #items do
    local kind, id, quantity, cap, sku_cap, ttl, sku, user, key, digest
    kind, id, quantity, at = unpack('>Bc16i8', items, at)
    if kind == 1 then
        cap, sku_cap, ttl, sku, user, key, at = unpack('>i8i8i8Bc0Bc0Bc0', items, at)
        if key ~= '' then
            digest, at = sub(items, at, at + 31), at + 32
        end
        reserve(id, quantity, cap, sku_cap, ttl, sku, user, key, digest)
    else
        sku, at = unpack('>Bc0', items, at)
        lower(id, quantity, sku)
    end
end

local reply = {table.concat(answers)}
for i = 1, #skus do
    local sku = skus[i]
    local s = shelves[sku]
    if s.changed then
        call('HSET', c, sku, string.format('%d', s[1]), sku .. '/doubt', string.format('%d', s[2]),
            sku .. '/held', string.format('%d', s[3]), sku .. '/confirmed', string.format('%d', s[4]))
    end
    reply[2 * i] = sku
    reply[2 * i + 1] = s[1]
end
return reply

#!lua
-- One step of a sale under one epoch: first what the log has decided (effects), then new reservations, in order.
--
-- KEYS   cur  c  u  d  o  k  a  v
-- ARGV   epoch; effects; items: both packed, numbers big-endian, texts with their length before them (in 1 byte; rest: 2)
--   effect   1 id verdict                settle
--            2 id units sku              raise
--            3 offset partition          applied up to
--   item     1 id quantity sku rest cap sku_cap user first field [value]    a reservation
--            2 id quantity sku rest                                         a lowering
--            rest: the entry behind its time; first: the buyer, if this is his only order; field and value: of k
-- Reply  the word FENCED, or { answers, now in ms, sku, left, sku, left ... of each SKU that was touched }
--   answer   result, left; then of CAP, DUPLICATE and MISMATCH an id, of AGAIN reserved_at and ttl
--
-- What the keys hold is written down in inventory/redis_codec.h. A step reads, decides, and then writes: many fields by one
-- command each time, which is what makes a batch cheap, and nothing before all is decided, because Redis does not undo
-- what a script has done before an error. A script with this first line does not start on a replica or without memory.
local call, pack, read = redis.call, struct.pack, struct.unpack
local sub, char = string.sub, string.char

local MOST = 9007199254740991
local DOUBT, GIVEN_BACK, LOWERING, GONE = 0, 3, 4, 6
local RESERVED, SOLD_OUT, CAP, DUPLICATE, MISMATCH, AGAIN, CONFLICT = 0, 1, 2, 3, 4, 5, 6
local NOBODY = string.rep('\0', 16)

-- A hash as this step sees it: what was read or decided (false: no such field), and which fields must be written.
local function open(key)
    return {key = key, now = {}, changed = {}}
end

local function fetch(hash, fields)
    if #fields > 0 then
        local values = call('HMGET', hash.key, unpack(fields))
        for i = 1, #fields do
            hash.now[fields[i]] = values[i]
        end
    end
end

local function get(hash, field)
    local value = hash.now[field]
    if value == nil then
        value = call('HGET', hash.key, field)
        hash.now[field] = value
    end
    return value
end

local function put(hash, field, value)
    hash.now[field] = value
    hash.changed[field] = true
end

local function write(hash)
    local set, gone = {}, {}
    for field in pairs(hash.changed) do
        local value = hash.now[field]
        if value then
            set[#set + 1] = field
            set[#set + 1] = value
        else
            gone[#gone + 1] = field
        end
    end
    if #set > 0 then
        call('HSET', hash.key, unpack(set))
    end
    if #gone > 0 then
        call('HDEL', hash.key, unpack(gone))
    end
end

local c, u, d, o, k, v = open(KEYS[2]), open(KEYS[3]), open(KEYS[4]), open(KEYS[5]), open(KEYS[6]), open(KEYS[8])
local raised, raises = {}, {}

-- A SKU's four numbers: available, in doubt, held, confirmed.
local shelves, skus = {}, {}
local function shelf(sku)
    local s = shelves[sku]
    if not s then
        local n = call('HMGET', c.key, sku, sku .. '/doubt', sku .. '/held', sku .. '/confirmed')
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
local function buyer_of(text)
    local units, count, at = read('>i8B', text)
    local of = {}
    for _ = 1, count do
        local sku, n
        sku, n, at = read('>Bc0i8', text, at)
        of[sku] = n
    end
    return {units = units, of = of, ids = sub(text, at)}
end

local function keep_buyer(user, buyer)
    local count, list = 0, ''
    for sku, n in pairs(buyer.of) do
        if n > 0 then
            count = count + 1
            list = list .. pack('>Bc0i8', #sku, sku, n)
        end
    end
    put(u, user, buyer.units > 0 and pack('>i8B', buyer.units, count) .. list .. buyer.ids)
end

local function give_back(user, sku, units, id)
    local text = get(u, user)
    if not text then
        return
    end
    local buyer = buyer_of(text)
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
    local home, entry = d, get(d, id)
    if not entry then
        home, entry = o, get(o, id)
        if not entry then
            return
        end
    end
    local state, _, _, quantity, sku, at = read('>Bi8i8i8Bc0', entry)
    local place = state * 4 + verdict + 1
    local next = tonumber(sub(NEXT, place, place))
    if next == state then
        return
    end
    local s = shelf(sku)
    tally(s, state, -quantity)
    tally(s, next, quantity)
    local user, key = '', ''
    if next == GIVEN_BACK or next == GONE then
        s[1] = s[1] + quantity
        user, key = read('>Bc0Bc0', entry, at)
        if user ~= '' then
            give_back(user, sku, quantity, id)
        end
    end
    if home == d then
        put(d, id, false)
        entry = sub(entry, 1, -17) -- without its owner
    end
    if next == GONE then
        if key ~= '' then
            put(k, #user .. ':' .. user .. key, false)
        end
    elseif next == GIVEN_BACK and key == '' then
        put(o, id, false)
    else
        put(o, id, char(next) .. sub(entry, 2))
    end
end

local function raise(id, units, sku)
    local s = shelf(sku)
    if units > MOST - s[1] - s[2] - s[3] - s[4] or get(d, id) or get(o, id) then
        return
    end
    if not raised[id] and call('SISMEMBER', KEYS[7], id) == 0 then
        raised[id] = true
        raises[#raises + 1] = id
        s[1] = s[1] + units
        s.changed = true
    end
end

local function applied(offset, partition)
    if offset > (tonumber(get(v, partition)) or -1) then
        put(v, partition, string.format('%d', offset))
    end
end

local function take_effects(effects)
    local ids, at = {}, 1
    while at <= #effects do -- all at once, before they are needed one by one
        local kind, id
        kind, at = read('>B', effects, at)
        if kind == 1 then
            id, _, at = read('>c16B', effects, at)
            ids[#ids + 1] = id
        elseif kind == 2 then
            _, _, _, at = read('>c16i8Bc0', effects, at)
        else
            _, _, at = read('>i8Bc0', effects, at)
        end
    end
    fetch(d, ids)
    at = 1
    while at <= #effects do
        local kind, id, n, text
        kind, at = read('>B', effects, at)
        if kind == 1 then
            id, n, at = read('>c16B', effects, at)
            settle(id, n)
        elseif kind == 2 then
            id, n, text, at = read('>c16i8Bc0', effects, at)
            raise(id, n, text)
        else
            n, text, at = read('>i8Bc0', effects, at)
            applied(n, text)
        end
    end
end

local answers = {}
local function say(result, s, more)
    answers[#answers + 1] = pack('>Bi8', result, s[1]) .. (more or '')
end

-- The id is known already: the same answer again, if it is the same buyer's.
local function say_again(entry, user, s, id)
    local state, _, _, _, _, his = read('>Bi8i8i8Bc0Bc0', entry)
    if his ~= user then
        say(CONFLICT, s)
    elseif state == GIVEN_BACK then
        say(DUPLICATE, s, id)
    else
        say(AGAIN, s, sub(entry, 2, 17))
    end
end

local doubt, lowering -- how an entry begins: its state and the time

local function reserve(id, quantity, sku, rest, cap, sku_cap, user, first, field, value)
    local s = shelf(sku)
    local entry = get(d, id) or get(o, id)
    if entry then
        return say_again(entry, user, s, id)
    end
    local used = field ~= '' and get(k, field)
    if used then
        return say(sub(used, 17) == sub(value, 17) and DUPLICATE or MISMATCH, s, sub(used, 1, 16))
    end
    local has = get(u, user)
    local buyer = has and buyer_of(has)
    local units, of = buyer and buyer.units or 0, buyer and buyer.of[sku] or 0
    if quantity > cap - units or (sku_cap > 0 and quantity > sku_cap - of) then
        return say(CAP, s, buyer and buyer.ids ~= '' and sub(buyer.ids, -16) or NOBODY)
    end
    if s[1] < quantity then
        return say(SOLD_OUT, s)
    end
    s[1] = s[1] - quantity
    tally(s, DOUBT, quantity)
    if buyer then
        buyer.units = units + quantity
        buyer.of[sku] = of + quantity
        buyer.ids = sub(buyer.ids, -240) .. id -- the last 16
        keep_buyer(user, buyer)
    else
        put(u, user, first)
    end
    if field ~= '' then
        put(k, field, value)
    end
    put(d, id, doubt .. rest)
    say(RESERVED, s)
end

local function lower(id, quantity, sku, rest)
    local s = shelf(sku)
    local entry = get(d, id) or get(o, id)
    if entry then
        say_again(entry, '', s, id)
    elseif raised[id] or call('SISMEMBER', KEYS[7], id) == 1 then
        say(CONFLICT, s)
    elseif s[1] < quantity then
        say(SOLD_OUT, s)
    else
        s[1] = s[1] - quantity
        tally(s, LOWERING, quantity)
        put(d, id, lowering .. rest)
        say(RESERVED, s)
    end
end

local function take_items(items)
    local ids, users, fields = {}, {}, {}
    local quantity, sku, rest, cap, sku_cap, first, field_of, value = {}, {}, {}, {}, {}, {}, {}, {}
    local user_of, count, at = {}, 0, 1
    while at <= #items do
        local n, kind = count + 1, nil
        kind, ids[n], quantity[n], sku[n], rest[n], at = read('>Bc16i8Bc0Hc0', items, at)
        if kind == 1 then
            local user, field
            cap[n], sku_cap[n], user, first[n], field, at = read('>i8i8Bc0Bc0Bc0', items, at)
            users[#users + 1] = user
            user_of[n], field_of[n] = user, field
            if field ~= '' then
                fields[#fields + 1] = field
                value[n], at = read('>c48', items, at)
            end
        end
        count = n
    end
    fetch(o, ids)
    for i = 1, count do -- what effects have changed must not be read again
        if d.now[ids[i]] ~= nil then
            get(d, ids[i])
        end
    end
    return count, ids, quantity, sku, rest, cap, sku_cap, users, user_of, first, fields, field_of, value
end

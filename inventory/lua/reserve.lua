#!lua
-- One step of a sale under one epoch: first what the log has decided (effects), then new reservations, in order.
--
-- KEYS   cur  c  u  d  o  k  a  v
-- ARGV   epoch; effects; items; then of all items the ids, the users (empty: a lowering), and the fields of k (empty: no key)
--   effects  each  1 id verdict          settle         packed: numbers big-endian, texts with their length before them
--                  2 id units sku        raise
--                  3 offset partition    applied up to
--   items    each  quantity cap sku_cap sku rest first value
--            rest: the entry behind its time; first: the buyer, if this is his only order; value: of k
-- Reply  the word FENCED, or { answers, now in ms, sku, left, in doubt, taken ... of each SKU that was touched }
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
local VOID = 1 -- a verdict
local NOBODY = string.rep('\0', 16)

-- A hash as this step sees it: what was read or decided (false: no such field), and which fields must be written. It is read
-- before it is written, so that a key of another type is met before anything is written.
local function open(key)
    return {key = key, seen = false, now = {}, changed = {}}
end

-- Reads the fields ARGV[from] to ARGV[to] at once.
local function fetch(hash, from, to)
    if from <= to then
        local values = call('HMGET', hash.key, unpack(ARGV, from, to))
        for i = from, to do
            hash.now[ARGV[i]] = values[i - from + 1]
        end
        hash.seen = true
    end
end

local function get(hash, field)
    local value = hash.now[field]
    if value == nil then
        value = call('HGET', hash.key, field)
        hash.now[field] = value
        hash.seen = true
    end
    return value
end

local function put(hash, field, value)
    if not hash.seen then
        get(hash, field)
    end
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

local c, u, d, o, k, v = KEYS[2], open(KEYS[3]), open(KEYS[4]), open(KEYS[5]), open(KEYS[6]), open(KEYS[8])
local raised, raises = {}, {}

-- A SKU's numbers: available, in doubt, held, confirmed; and how often units of it were reserved.
local shelves, skus = {}, {}
local function shelf(sku)
    local s = shelves[sku]
    if not s then
        s = call('HMGET', c, sku, sku .. '/doubt', sku .. '/held', sku .. '/confirmed', sku .. '/taken')
        for i = 1, 5 do
            s[i] = tonumber(s[i]) or 0
        end
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
        if user ~= '' and key ~= '' then
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
    local entry = get(d, id)
    if entry and read('B', entry) == LOWERING then -- one that never came into the log
        settle(id, VOID)
    end
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
    local at = 1
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
    s[5] = s[5] + 1
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
        local _, _, _, before, of = read('>Bi8i8i8Bc0', entry)
        if before == quantity and of == sku then
            say_again(entry, '', s, id)
        else
            say(CONFLICT, s)
        end
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

local function take_items(items, count)
    local at = 1
    for i = 4, 3 + count do
        local id, user, field = ARGV[i], ARGV[i + count], ARGV[i + 2 * count]
        local quantity, cap, sku_cap, sku, rest, first, value
        quantity, cap, sku_cap, sku, rest, first, value, at = read('>i8i8i8Bc0Hc0Bc0Bc0', items, at)
        if user == '' then
            lower(id, quantity, sku, rest)
        else
            reserve(id, quantity, sku, rest, cap, sku_cap, user, first, field, value)
        end
    end
end

local function decide(now)
    local count = (#ARGV - 3) / 3
    doubt, lowering = pack('>Bi8', DOUBT, now), pack('>Bi8', LOWERING, now)
    fetch(d, 4, 3 + count) -- before effects change them
    fetch(o, 4, 3 + count)
    fetch(u, 4 + count, 3 + 2 * count)
    fetch(k, 4 + 2 * count, 3 + 3 * count)
    take_effects(ARGV[2])
    take_items(ARGV[3], count)
end

local function step()
    if call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
        return redis.status_reply('FENCED')
    end
    call('SCARD', KEYS[7]) -- these two are not looked at by every step, and must be ours all the same
    call('HLEN', KEYS[8])
    local time = call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    decide(now)
    -- Only effects delete. A user who may not, learns it before anything is written.
    if ARGV[2] ~= '' and type(redis.pcall('HDEL', KEYS[1], '')) == 'table' then
        error('ERR the user of this Redis may not run HDEL', 0)
    end

    local reply = {table.concat(answers), now}
    for i = 1, #skus do
        local sku = skus[i]
        local s = shelves[sku]
        if s.changed then
            call('HSET', c, sku, string.format('%d', s[1]), sku .. '/doubt', string.format('%d', s[2]),
                sku .. '/held', string.format('%d', s[3]), sku .. '/confirmed', string.format('%d', s[4]),
                sku .. '/taken', string.format('%d', s[5]))
        end
        local at = #reply
        reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4] = sku, s[1], s[2], s[5]
    end
    write(d)
    write(o)
    write(u)
    write(k)
    write(v)
    if #raises > 0 then
        call('SADD', KEYS[7], unpack(raises))
    end
    return reply
end

local ok, reply = pcall(step)
if ok then
    return reply
end
local text = type(reply) == 'table' and reply.err or tostring(reply)
for i = 1, #KEYS do -- whose key is it?
    local kind = call('TYPE', KEYS[i]).ok
    if kind ~= 'none' and kind ~= (i == 7 and 'set' or 'hash') then
        text = 'WRONGTYPE ' .. KEYS[i] .. ' is a ' .. kind
    end
end
return redis.error_reply(text)

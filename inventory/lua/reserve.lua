#!lua
-- One step of a sale under one epoch: first what the log has decided (effects), then new reservations, in order.
--
-- KEYS   current  stock  user  doubt  order  idem  adjust  applied
-- ARGV   epoch; effects; items; then of all items the ids, the users (empty: a lowering), and the fields of idem (empty: no key)
--   effects  each  1 id verdict          resolve        packed: numbers big-endian, texts with their length before them
--                  2 id units sku        raise
--                  3 offset partition    applied up to
--   items    each  quantity cap sku_cap sku rest first value
--            rest: the entry behind its time (empty: only look what a reservation would be answered); first: the buyer, if this is their only order; value: of idem
-- Reply  the word FENCED, or { answers, now in ms, sku, available, in doubt, reserved in total ... of each SKU that was touched }
--   answer   result, available; then of CAP, DUPLICATE and MISMATCH an id, of AGAIN reserved_at and ttl
--
-- inventory/redis_codec.h says what the keys hold. A step reads, decides, and then writes: many fields by one command each
-- time, which makes a batch cheap, and nothing before all is decided, because Redis does not undo what a script did before
-- an error. A script with this first line does not start on a replica or without memory.
local call, pack, read = redis.call, struct.pack, struct.unpack
local sub, char = string.sub, string.char

local MOST = 9007199254740991
local DOUBT, GIVEN_BACK, LOWERING, GONE = 0, 3, 4, 6
local RESERVED, SOLD_OUT, CAP, DUPLICATE, MISMATCH, AGAIN, CONFLICT = 0, 1, 2, 3, 4, 5, 6
local VOID = 1 -- a verdict
local NO_ID = string.rep('\0', 16)

-- A hash as this step sees it: the values read or decided (false: no such field), and which fields must be written. A hash is
-- read before it is written, so that a key of another type is found before anything is written.
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

local stock = KEYS[2]
local users, doubts, orders = open(KEYS[3]), open(KEYS[4]), open(KEYS[5])
local idems, offsets = open(KEYS[6]), open(KEYS[8])
local raised, raises = {}, {}

-- The numbers of a SKU, and whether they must be written.
local counters, skus = {}, {}
local function counter_of(sku)
    local counter = counters[sku]
    if not counter then
        local numbers = call('HMGET', stock, sku, sku .. '/in_doubt', sku .. '/held', sku .. '/confirmed', sku .. '/reserved_total')
        counter = {
            available = tonumber(numbers[1]) or 0,
            in_doubt = tonumber(numbers[2]) or 0,
            held = tonumber(numbers[3]) or 0,
            confirmed = tonumber(numbers[4]) or 0,
            reserved_total = tonumber(numbers[5]) or 0,
        }
        counters[sku] = counter
        skus[#skus + 1] = sku
    end
    return counter
end

local COUNTED_AS = {[DOUBT] = 'in_doubt', [1] = 'held', [2] = 'confirmed', [LOWERING] = 'in_doubt'} -- by state
local function add_units(counter, state, units)
    local name = COUNTED_AS[state]
    if name then
        counter[name] = counter[name] + units
    end
    counter.changed = true
end

-- A buyer: units over all SKUs, units of each, the ids of their last live orders (oldest first).
local function buyer_of(text)
    local units, count, at = read('>i8B', text)
    local units_of = {}
    for _ = 1, count do
        local sku, sku_units
        sku, sku_units, at = read('>Bc0i8', text, at)
        units_of[sku] = sku_units
    end
    return {units = units, units_of = units_of, ids = sub(text, at)}
end

local function keep_buyer(user, buyer)
    local count, list = 0, ''
    for sku, units in pairs(buyer.units_of) do
        if units > 0 then
            count = count + 1
            list = list .. pack('>Bc0i8', #sku, sku, units)
        end
    end
    put(users, user, buyer.units > 0 and pack('>i8B', buyer.units, count) .. list .. buyer.ids)
end

local function give_back(user, sku, units, id)
    local text = get(users, user)
    if not text then
        return
    end
    local buyer = buyer_of(text)
    buyer.units = buyer.units - units
    buyer.units_of[sku] = (buyer.units_of[sku] or 0) - units
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

local function resolve(id, verdict)
    local home, entry = doubts, get(doubts, id)
    if not entry then
        home, entry = orders, get(orders, id)
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
    local counter = counter_of(sku)
    add_units(counter, state, -quantity)
    add_units(counter, next, quantity)
    local user, key = '', ''
    if next == GIVEN_BACK or next == GONE then
        counter.available = counter.available + quantity
        user, key = read('>Bc0Bc0', entry, at)
        if user ~= '' then
            give_back(user, sku, quantity, id)
        end
    end
    if home == doubts then
        put(doubts, id, false)
        entry = sub(entry, 1, -17) -- without its owner
    end
    if next == GONE then
        if user ~= '' and key ~= '' then
            put(idems, #user .. ':' .. user .. key, false)
        end
    elseif next == GIVEN_BACK and key == '' then
        put(orders, id, false)
    else
        put(orders, id, char(next) .. sub(entry, 2))
    end
end

local function raise(id, units, sku)
    local counter = counter_of(sku)
    local entry = get(doubts, id)
    if entry and read('B', entry) == LOWERING then -- it never came into the log
        resolve(id, VOID)
    end
    if units > MOST - counter.available - counter.in_doubt - counter.held - counter.confirmed or get(doubts, id) or get(orders, id) then
        return
    end
    if not raised[id] and call('SISMEMBER', KEYS[7], id) == 0 then
        raised[id] = true
        raises[#raises + 1] = id
        counter.available = counter.available + units
        counter.changed = true
    end
end

local function note_applied(offset, partition)
    if offset > (tonumber(get(offsets, partition)) or -1) then
        put(offsets, partition, string.format('%d', offset))
    end
end

local function apply_effects(effects)
    local at = 1
    while at <= #effects do
        local kind, id, number, text
        kind, at = read('>B', effects, at)
        if kind == 1 then
            id, number, at = read('>c16B', effects, at)
            resolve(id, number)
        elseif kind == 2 then
            id, number, text, at = read('>c16i8Bc0', effects, at)
            raise(id, number, text)
        else
            number, text, at = read('>i8Bc0', effects, at)
            note_applied(number, text)
        end
    end
end

local answers = {}
local function answer(result, counter, more)
    answers[#answers + 1] = pack('>Bi8', result, counter.available) .. (more or '')
end

-- The id is known already: the same answer again, if it belongs to the same buyer.
local function answer_again(entry, user, counter, id)
    local state, _, _, _, _, owner = read('>Bi8i8i8Bc0Bc0', entry)
    if owner ~= user then
        answer(CONFLICT, counter)
    elseif state == GIVEN_BACK then
        answer(DUPLICATE, counter, id)
    else
        answer(AGAIN, counter, sub(entry, 2, 17))
    end
end

local doubt_head, lowering_head -- how an entry begins: its state and the time

local function reserve(id, quantity, sku, rest, cap, sku_cap, user, first, field, value)
    local counter = counter_of(sku)
    local entry = get(doubts, id) or get(orders, id)
    if entry then
        return answer_again(entry, user, counter, id)
    end
    local used = field ~= '' and get(idems, field)
    if used then
        return answer(sub(used, 17) == sub(value, 17) and DUPLICATE or MISMATCH, counter, sub(used, 1, 16))
    end
    local has = get(users, user)
    local buyer = has and buyer_of(has)
    local units, sku_units = buyer and buyer.units or 0, buyer and buyer.units_of[sku] or 0
    if quantity > cap - units or (sku_cap > 0 and quantity > sku_cap - sku_units) then
        return answer(CAP, counter, buyer and buyer.ids ~= '' and sub(buyer.ids, -16) or NO_ID)
    end
    if counter.available < quantity then
        return answer(SOLD_OUT, counter)
    end
    if rest == '' then -- somebody only looks
        return answer(RESERVED, counter)
    end
    counter.available = counter.available - quantity
    counter.reserved_total = counter.reserved_total + 1
    add_units(counter, DOUBT, quantity)
    if buyer then
        buyer.units = units + quantity
        buyer.units_of[sku] = sku_units + quantity
        buyer.ids = sub(buyer.ids, -240) .. id -- the last 16
        keep_buyer(user, buyer)
    else
        put(users, user, first)
    end
    if field ~= '' then
        put(idems, field, value)
    end
    put(doubts, id, doubt_head .. rest)
    answer(RESERVED, counter)
end

local function lower(id, quantity, sku, rest)
    local counter = counter_of(sku)
    local entry = get(doubts, id) or get(orders, id)
    if entry then
        local _, _, _, old_quantity, old_sku = read('>Bi8i8i8Bc0', entry)
        if old_quantity == quantity and old_sku == sku then
            answer_again(entry, '', counter, id)
        else
            answer(CONFLICT, counter)
        end
    elseif raised[id] or call('SISMEMBER', KEYS[7], id) == 1 then
        answer(CONFLICT, counter)
    elseif counter.available < quantity then
        answer(SOLD_OUT, counter)
    else
        counter.available = counter.available - quantity
        add_units(counter, LOWERING, quantity)
        put(doubts, id, lowering_head .. rest)
        answer(RESERVED, counter)
    end
end

local function reserve_items(items, count)
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
    doubt_head, lowering_head = pack('>Bi8', DOUBT, now), pack('>Bi8', LOWERING, now)
    fetch(doubts, 4, 3 + count) -- before effects change them
    fetch(orders, 4, 3 + count)
    fetch(users, 4 + count, 3 + 2 * count)
    fetch(idems, 4 + 2 * count, 3 + 3 * count)
    apply_effects(ARGV[2])
    reserve_items(ARGV[3], count)
end

local function run_step()
    if call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
        return redis.status_reply('FENCED')
    end
    call('SCARD', KEYS[7]) -- not every step reads these two, but a foreign key in their place must be found before anything is written
    call('HLEN', KEYS[8])
    local time = call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    decide(now)
    -- Only effects delete. A user of Redis that may not delete must be found before anything is written.
    if ARGV[2] ~= '' and type(redis.pcall('HDEL', KEYS[1], '')) == 'table' then
        error('ERR the user of this Redis may not run HDEL', 0)
    end

    local reply = {table.concat(answers), now}
    for i = 1, #skus do
        local sku = skus[i]
        local counter = counters[sku]
        if counter.changed then
            call('HSET', stock, sku, string.format('%d', counter.available),
                sku .. '/in_doubt', string.format('%d', counter.in_doubt),
                sku .. '/held', string.format('%d', counter.held),
                sku .. '/confirmed', string.format('%d', counter.confirmed),
                sku .. '/reserved_total', string.format('%d', counter.reserved_total))
        end
        local at = #reply
        reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4] = sku, counter.available, counter.in_doubt, counter.reserved_total
    end
    write(doubts)
    write(orders)
    write(users)
    write(idems)
    write(offsets)
    if #raises > 0 then
        call('SADD', KEYS[7], unpack(raises))
    end
    return reply
end

local ok, reply = pcall(run_step)
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

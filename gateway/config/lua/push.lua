#!lua
-- Brings a gateway's copies: a document is taken where there is none, or an older one; the policy with all its entries.
--
-- KEYS   ps:control, ps:control:revs
-- ARGV   a generation, for the case that there is none; how many documents; of each: field, version, text;
--        then the entries of the policy, if it is one of them: field, text
-- Reply  the generation
local generation = redis.call('HGET', KEYS[1], 'generation')
local top = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local rev = tonumber(top[2] or '0') + 1
if not generation then
    generation = ARGV[1]
    redis.call('HSET', KEYS[1], 'generation', generation)
    redis.call('DEL', KEYS[2])
    rev = 1
end

local function set(field, text)
    if redis.call('HGET', KEYS[1], field) ~= text then
        redis.call('HSET', KEYS[1], field, text)
        redis.call('ZADD', KEYS[2], rev, field)
    end
end

local function set_entries(first)
    local given = {}
    for i = first, #ARGV, 2 do
        given[ARGV[i]] = true
        set(ARGV[i], ARGV[i + 1])
    end
    for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
        if not given[field] and string.match(field, '^entry/') then
            redis.call('HDEL', KEYS[1], field)
            redis.call('ZADD', KEYS[2], rev, field)
        end
    end
end

local entries = 3 + 3 * tonumber(ARGV[2])
for i = 3, entries - 1, 3 do
    local held = redis.call('HGET', KEYS[1], ARGV[i])
    if not held or tonumber(string.match(held, '^%d+')) < tonumber(ARGV[i + 1]) then
        set(ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
        if ARGV[i] == 'policy' then
            set_entries(entries)
        end
    end
end
return generation

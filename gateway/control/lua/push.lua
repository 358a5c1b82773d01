#!lua
-- Brings a gateway's copies: a document is taken where there is none, or an older one.
--
-- KEYS   ps:control, ps:control:revs
-- ARGV   a generation, for the case that there is none; then of each document: field, version, text
-- Reply  the generation
local generation = redis.call('HGET', KEYS[1], 'generation')
local top = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local rev = tonumber(top[2] or '0')
if not generation then
    generation = ARGV[1]
    redis.call('HSET', KEYS[1], 'generation', generation)
    redis.call('DEL', KEYS[2])
    rev = 0
end
for i = 2, #ARGV, 3 do
    local held = redis.call('HGET', KEYS[1], ARGV[i])
    if not held or tonumber(string.match(held, '^%d+')) < tonumber(ARGV[i + 1]) then
        rev = rev + 1
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
        redis.call('ZADD', KEYS[2], rev, ARGV[i])
    end
end
return generation

#!lua
-- Brings a gateway's copies: a document is taken where there is none, or an older version.
--
-- KEYS   ps:control, ps:control:revs
-- ARGV   a generation, for the case that there is none; the gateway's revision; of each document: field, version, text
-- Reply  the generation
local generation = redis.call('HGET', KEYS[1], 'generation')
local top = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local revision = math.max(tonumber(top[2] or '0') + 1, tonumber(ARGV[2]))
if not generation then
    generation = ARGV[1]
    redis.call('HSET', KEYS[1], 'generation', generation)
    redis.call('DEL', KEYS[2])
    revision = tonumber(ARGV[2])
end
for i = 3, #ARGV, 3 do
    local held = redis.call('HGET', KEYS[1], ARGV[i])
    if not held or tonumber(string.match(held, '^%d+')) < tonumber(ARGV[i + 1]) then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
        redis.call('ZADD', KEYS[2], revision, ARGV[i])
    end
end
return generation

#!lua
-- Replaces documents, if each is still at the version that the change was made from: all or none.
--
-- KEYS   ps:control, ps:control:revs
-- ARGV   generation; the gateway's revision; how many documents have ended; their fields, which are removed;
--        then of each document: field, version that it follows (0: there is none), version, text
-- Reply  {OK, revision}, {CONFLICT, field, version that is there}, or {LOST}: another generation
local top = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then
    return {'LOST'}
end
local ended = {}
local first = 4 + tonumber(ARGV[3])
for i = 4, first - 1 do
    ended[ARGV[i]] = true
end
for i = first, #ARGV, 4 do
    local held = not ended[ARGV[i]] and redis.call('HGET', KEYS[1], ARGV[i])
    -- What one gateway has not removed yet, because it has ended, another one has.
    local version = held and string.match(held, '^%d+')
    if version and version ~= ARGV[i + 1] then
        return {'CONFLICT', ARGV[i], tonumber(version)}
    end
end
local revision = math.max(tonumber(top[2] or '0'), tonumber(ARGV[2])) + 1
for field in pairs(ended) do
    redis.call('HDEL', KEYS[1], field)
    redis.call('ZREM', KEYS[2], field)
end
for i = first, #ARGV, 4 do
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2] .. ' ' .. ARGV[i + 3])
    redis.call('ZADD', KEYS[2], revision, ARGV[i])
end
return {'OK', revision}

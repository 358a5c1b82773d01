#!lua
-- Replaces one document, if it is still at the version that the change was made from; with the policy, entries of it.
--
-- KEYS   ps:control, ps:control:revs
-- ARGV   generation; field, new version (one higher than what is there; 1: there is none), text;
--        then of each entry: field, text (empty: it goes)
-- Reply  {OK}, {CONFLICT, version that is there}, or {LOST}: another generation
local held = redis.call('HGET', KEYS[1], ARGV[2])
local top = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then
    return {'LOST'}
end
local version = held and tonumber(string.match(held, '^%d+')) or 0
if version + 1 ~= tonumber(ARGV[3]) then
    return {'CONFLICT', version}
end
local rev = tonumber(top[2] or '0') + 1
for i = 5, #ARGV, 2 do
    if ARGV[i + 1] == '' then
        redis.call('HDEL', KEYS[1], ARGV[i])
    else
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
    redis.call('ZADD', KEYS[2], rev, ARGV[i])
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3] .. ' ' .. ARGV[4])
redis.call('ZADD', KEYS[2], rev, ARGV[2])
return {'OK'}

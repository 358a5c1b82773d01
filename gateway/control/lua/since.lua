#!lua flags=no-writes
-- What has changed.
--
-- KEYS   ps:control, ps:control:revs
-- ARGV   generation; the revision up to which all is known; how many documents at most
-- Reply  {OK, latest revision, revision up to which this tells, then field and "version text" of each},
--        or {LOST}: another generation
local generation = redis.call('HGET', KEYS[1], 'generation')
local top = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if generation ~= ARGV[1] then
    return {'LOST'}
end
local latest = tonumber(top[2] or '0')
local reply = {'OK', latest, tonumber(ARGV[2])}
if latest <= reply[3] then
    return reply
end
local changed = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #changed, 2 do
    reply[#reply + 1] = changed[i]
    reply[#reply + 1] = redis.call('HGET', KEYS[1], changed[i])
    reply[3] = tonumber(changed[i + 1])
end
return reply

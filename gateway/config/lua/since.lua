#!lua flags=no-writes
-- What has changed.
--
-- KEYS   ps:control, ps:control:revs
-- ARGV   generation; the revision up to which all is known
-- Reply  {OK, latest revision, then field and text of each that has changed since (no text: it is gone)},
--        or {LOST}: another generation
local generation = redis.call('HGET', KEYS[1], 'generation')
local top = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if generation ~= ARGV[1] then
    return {'LOST'}
end
local reply = {'OK', tonumber(top[2] or '0')}
if reply[2] > tonumber(ARGV[2]) then
    for _, field in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[2], '+inf')) do
        reply[#reply + 1] = field
        reply[#reply + 1] = redis.call('HGET', KEYS[1], field)
    end
end
return reply

#!lua flags=no-writes
-- What has changed, some revisions at a time.
--
-- KEYS   ps:control, ps:control:revs
-- ARGV   generation; the revision up to which all is known; how many documents are enough
-- Reply  {OK, the last revision, then field, revision and text of each document that changed in the next revisions},
--        or {LOST}: another generation
local generation = redis.call('HGET', KEYS[1], 'generation')
local top = redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if generation ~= ARGV[1] then
    return {'LOST'}
end
local reply = {'OK', tonumber(top[2] or '0')}
local some = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[2], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
if #some == 0 then
    return reply
end
-- A revision is read whole.
local last = some[#some]
local read = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[2], last, 'WITHSCORES')
for i = 1, #read, 2 do
    reply[#reply + 1] = read[i]
    reply[#reply + 1] = tonumber(read[i + 1])
    reply[#reply + 1] = redis.call('HGET', KEYS[1], read[i])
end
return reply

#!lua
-- Part of a load: fills one key of an epoch that is not installed yet. Late copies of it find their epoch installed, or
-- ended, and change nothing. What is filled and not installed expires after an hour.
--
-- KEYS   current, key   ARGV  epoch; HSET or SADD; fields and values, or members
-- Reply  how many of them are new, or the word LATE
if tonumber(redis.call('HGET', KEYS[1], 'epoch') or '-1') >= tonumber(ARGV[1]) then
    return redis.status_reply('LATE')
end
local new = redis.call(ARGV[2], KEYS[2], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[2], 3600)
return new

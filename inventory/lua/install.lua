#!lua
-- Puts a loaded epoch in force, at most once, and only if all of it is there. The counters of the epoch before are dropped
-- in the background: nobody can reach them any more.
--
-- KEYS   current  stock  user  doubt  order  idem  adjust  applied
-- ARGV   epoch; identity; how many fields or members each key must have
-- Reply  OK, or one of the words LATE, INCOMPLETE, FORBIDDEN
local before = redis.call('HGET', KEYS[1], 'epoch')
if tonumber(before or '-1') >= tonumber(ARGV[1]) then
    return redis.status_reply('LATE')
end
for i = 2, #KEYS do
    local count = redis.call(i == 7 and 'SCARD' or 'HLEN', KEYS[i])
    if count ~= tonumber(ARGV[i + 1]) then
        return redis.status_reply('INCOMPLETE')
    end
end
-- A load needs every command that a step of the sale writes with, but for this one. Better no sale than one whose verdicts
-- have no effect.
if type(redis.pcall('HDEL', KEYS[1], 'nothing')) == 'table' then
    return redis.status_reply('FORBIDDEN')
end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'identity', ARGV[2])
local sale = string.sub(KEYS[1], 1, -#'current' - 1)
for i = 2, #KEYS do
    redis.call('PERSIST', KEYS[i])
    if before then
        redis.call('UNLINK', sale .. before .. string.match(KEYS[i], ':%a+$'))
    end
end
return redis.status_reply('OK')

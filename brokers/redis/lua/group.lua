-- Hears of a member of the group, or that it leaves, and forgets those that were not heard of for too long.
--
-- KEYS[1]  of the first partition
-- ARGV     the member's id or '', 1 if it is there and 0 if it leaves, after how many microseconds one is gone
-- Returns {generation, the generation that the partitions were shared out in, members, pairs of a partition and its
-- owner, the members' ages in microseconds}. Every change of the members is a new generation.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
local changed = redis.call('ZREMRANGEBYSCORE', base .. 'gm', '-inf', now - tonumber(ARGV[3]))
if ARGV[1] ~= '' then
  if ARGV[2] == '1' then
    changed = changed + redis.call('ZADD', base .. 'gm', now, ARGV[1])
  else
    changed = changed + redis.call('ZREM', base .. 'gm', ARGV[1])
  end
end
if changed > 0 then
  redis.call('HINCRBY', KEYS[1], 'generation', 1)
  redis.call('PUBLISH', base .. 'g', changed)
end
local counts = redis.call('HMGET', KEYS[1], 'generation', 'shared_out')
local members, ages = {}, {}
local heard = redis.call('ZRANGE', base .. 'gm', 0, -1, 'WITHSCORES')
for i = 1, #heard, 2 do
  members[#members + 1] = heard[i]
  ages[#ages + 1] = now - tonumber(heard[i + 1])
end
return { tonumber(counts[1] or '0'), tonumber(counts[2] or '0'), members, redis.call('HGETALL', base .. 'go'), ages }

-- Gives the partitions to their owners, unless the members have changed meanwhile or somebody was faster.
--
-- KEYS[1]  of the first partition
-- ARGV     the generation, then pairs of a partition and its owner
-- Returns 1 if it was done.

local counts = redis.call('HMGET', KEYS[1], 'id', 'generation', 'shared_out')
if not counts[1] or counts[2] ~= ARGV[1] or counts[3] == ARGV[1] then return 0 end
redis.call('UNLINK', base .. 'go')
for i = 2, #ARGV, 2 do redis.call('HSET', base .. 'go', ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'shared_out', ARGV[1])
redis.call('PUBLISH', base .. 'g', 1)
return 1

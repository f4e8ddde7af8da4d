-- Lets a partition hand nothing out, or again.
--
-- ARGV  1 or 0

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
redis.call('HSET', KEYS[1], 'paused', ARGV[1])
pack_settings()
woken = 1000000
return told(1)

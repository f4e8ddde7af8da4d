-- Whether a receive of this name can be made again.
--
-- ARGV  the name
-- Returns how many tasks it was handed here, -1 if not all of them are held as they were then.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
local numbers = given_before(ARGV[1])
return told(numbers and #numbers or -1)

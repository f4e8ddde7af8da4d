-- Whether a receive of this name can be made again.
--
-- ARGV  the name, whether it is to be forgotten: '1' or nothing
-- Returns how many tasks it was handed here, -1 if not all of them are held as they were then.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
local numbers = given_before(ARGV[1])
if ARGV[2] == '1' then forget_attempt(ARGV[1]) end
return told(numbers and #numbers or -1)

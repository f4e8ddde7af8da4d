-- The dead tasks that lie in a partition, by the time of their death.
--
-- ARGV  how many to pass over, most tasks
-- Returns the tasks.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
local first = tonumber(ARGV[1])
local rows = {}
for _, name in ipairs(redis.call('ZRANGE', base .. 'x', first, first + tonumber(ARGV[2]) - 1)) do
  local number = tonumber(name)
  local record = record_of(number)
  rows[#rows + 1] = view(number, record, fields_of(number, record))
end
return told(rows)

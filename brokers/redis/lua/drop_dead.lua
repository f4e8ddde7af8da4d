-- Drops dead tasks, whether they died here or were moved here, unless somebody holds them now.
--
-- ARGV  their numbers
-- Returns how many that were.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
local dropped = 0
for _, name in ipairs(ARGV) do
  local number = tonumber(name)
  local record = record_of(number)
  if record and record.s == 'x' then
    unplace(number, record, now, false)
    drop(number, record)
    dropped = dropped + 1
  elseif record and record.m and record.s ~= 'l' then
    leave(number, record)
    dropped = dropped + 1
  end
end
return told(dropped)

-- Sends dead tasks back to the queue in which they died, unless somebody holds them now.
--
-- ARGV  their numbers
-- Returns how many that were. They are on their way then.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
local sent = 0
for _, name in ipairs(ARGV) do
  local number = tonumber(name)
  local record = record_of(number)
  if record and record.s == 'x' then
    unplace(number, record, now, false)
    send_away(number, record, record.x.q, 'back')
    drop(number, record)
    sent = sent + 1
  elseif record and record.m and record.s ~= 'l' then
    send_away(number, record, record.m.q, 'back')
    leave(number, record)
    sent = sent + 1
  end
end
return told(sent)

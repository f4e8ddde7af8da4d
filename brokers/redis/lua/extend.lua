-- Gives live leases so long from now.
--
-- ARGV  for each: the queue's id, number, fence, length in microseconds
-- Returns for each 'L' or why not ('n', 's', 'e', 'a').

if open() then advance() end
local answers = {}
for i = 1, #ARGV, 4 do
  local number = tonumber(ARGV[i + 1])
  local why, record = refusal(ARGV[i], number, tonumber(ARGV[i + 2]))
  if not why and record.s ~= 'l' then why = 'E' end
  if not why then
    local till = now + tonumber(ARGV[i + 3])
    if record.call then
      -- Its lease does not end with those of its call any more.
      leave_call(record.call, 1)
      record.call = nil
      keep(number, record)
    end
    redis.call('ZADD', base .. 'l', till, text(number))
    due_by(till)
  end
  answers[#answers + 1] = why and string.lower(why) or 'L'
end
return told(answers)

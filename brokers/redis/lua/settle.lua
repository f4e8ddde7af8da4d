-- Carries out verdicts. Fences alone are compared: a lease that ended but was not handed out again still settles.
--
-- ARGV  for each: the queue's id, number, fence, verdict ('C'omplete, 'R'etry, re'L'ease, dead letter 'X'), after_us,
--       and the error of a retry or the reason of a death
-- Returns for each the state after it ('D', 'X', 'R', 'W') or why not ('n', 's', 'e', 'a').

local records = {}
if open() then
  advance()
  for i = 2, #ARGV, 6 do records[#records + 1] = ARGV[i] end
  records = redis.call('HMGET', base .. 't', unpack(records))
end
local answers = {}
-- Numbers whose records are not what they were at first.
local touched = {}
for i = 1, #ARGV, 6 do
  local place, name, fence = #answers + 1, ARGV[i + 1], ARGV[i + 2]
  local is_whole = meta and ARGV[i] == meta.id and ARGV[i + 3] == 'C' and not touched[name]
  if is_whole and leaves(name, fence, records[place]) then
    answers[place] = 'D'
  else
    leave_together()
    local number = tonumber(name)
    local why, record = refusal(ARGV[i], number, tonumber(fence))
    answers[place] = why and string.lower(why)
      or carry_out(number, record, ARGV[i + 3], tonumber(ARGV[i + 4]), ARGV[i + 5])
  end
  touched[name] = true
end
leave_together()
return told(answers)

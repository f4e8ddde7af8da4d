-- Carries out verdicts. Fences alone are compared: a lease that ended but was not handed out again still settles.
--
-- ARGV  for each: the queue's id, number, fence, verdict ('C'omplete, 'R'etry, re'L'ease, dead letter 'X'), after_us,
--       and the error of a retry or the reason of a death
-- Returns for each the state after it ('D', 'X', 'R', 'W') or why not ('n', 's', 'e', 'a').

if open() then advance() end
local answers = {}
for i = 1, #ARGV, 6 do
  local number = tonumber(ARGV[i + 1])
  local why, record = refusal(ARGV[i], number, tonumber(ARGV[i + 2]))
  answers[#answers + 1] = why and string.lower(why)
    or carry_out(number, record, ARGV[i + 3], tonumber(ARGV[i + 4]), ARGV[i + 5])
end
return told(answers)

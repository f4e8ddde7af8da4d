-- Carries out verdicts. Fences alone are compared: a lease that ended but was not handed out again still settles.
--
-- ARGV  groups of leases with the same verdict: verdict ('C'omplete, 'R'etry, re'L'ease, dead letter 'X'), the queue's
--       id, fence, how many leases, after_us, the error of a retry or the reason of a death, and their numbers
-- Returns how many leases they are where all of the tasks are plain and done, else for each lease the state after it ('D', 'X', 'R', 'W') or why not ('n', 's', 'e', 'a').

if open() then advance() end
local answers = {}
-- Numbers whose records are not what they were at first.
local touched = {}
local i = 1
while i <= #ARGV do
  local verdict, id, fence, last = ARGV[i], ARGV[i + 1], ARGV[i + 2], i + 5 + ARGV[i + 3]
  local names = { unpack(ARGV, i + 6, last) }
  local is_whole = meta and id == meta.id and verdict == 'C'
  local records = is_whole and redis.call('HMGET', base .. 't', unpack(names))
  for place, name in ipairs(names) do
    if is_whole and not touched[name] and leaves(name, fence, records[place]) then
      answers[#answers + 1] = 'D'
    else
      leave_together()
      local number = tonumber(name)
      local why, record = refusal(id, number, tonumber(fence))
      answers[#answers + 1] = why and string.lower(why)
        or carry_out(number, record, verdict, tonumber(ARGV[i + 4]), ARGV[i + 5])
    end
    touched[name] = true
  end
  i = last + 1
end
leave_together()
return told(answers)

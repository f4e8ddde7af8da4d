-- Tasks without key, delay, dedup key or priority for which there is room, while nothing is due. Others are for
-- enqueue.lua.

local function are_plain()
  if meta.retention_us >= 0 then return false end
  local i, count = 2, 0
  while i <= #ARGV do
    local has_lane = meta.ordered and ARGV[i + 3] ~= ''
    if ARGV[i + 1] ~= '0' or ARGV[i + 2] ~= '0' or has_lane or ARGV[i + 4] ~= '' then return false end
    i, count = i + 7 + ARGV[i + 6], count + 1
  end
  local most = bound_with(tonumber(ARGV[1]))
  return most < 0 or meta.live + count <= most
end

if open() and now < meta.due and are_plain() then
  local stream, number, largest = base .. 's0', meta.number, meta.largest
  local answers, i = {}, 2
  while i <= #ARGV do
    local first, last = i + 7, i + 6 + ARGV[i + 6]
    number = math.max(number + 1, now)
    redis.call('XADD', stream, text(number), unpack(ARGV, first, last))
    local bytes = bytes_of(ARGV, first, last)
    if bytes > largest or meta.live + #answers == 0 then largest = bytes end
    answers[#answers + 1] = { 0, number }
    i = last + 1
  end
  set('number', number)
  if largest ~= meta.largest then set('largest', largest) end
  live(#answers)
  woken = #answers
  return told(answers)
end

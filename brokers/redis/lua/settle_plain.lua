-- Completions of plain tasks, while nothing is due. Whatever else there is among them is for settle.lua.
-- Returns how many they are.

if open() and now < meta.due then
  local names, fences, touched = {}, {}, {}
  local function are_completed()
    local i = 1
    while i <= #ARGV do
      local fence, last = ARGV[i + 2], i + 5 + ARGV[i + 3]
      if ARGV[i] ~= 'C' or ARGV[i + 1] ~= meta.id then return false end
      for place = i + 6, last do
        local name = ARGV[place]
        if touched[name] then return false end
        touched[name] = true
        names[#names + 1], fences[#names + 1] = name, fence
      end
      i = last + 1
    end
    return true
  end
  if are_completed() then
    local left, records = 0, redis.call('HMGET', base .. 't', unpack(names))
    for place = 1, #names do
      if not leaves(names[place], fences[place], records[place]) then break end
      left = place
    end
    if left == #names then
      leave_together()
      return told(left)
    end
    leaving = nil
  end
end

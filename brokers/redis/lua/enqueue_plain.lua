-- Tasks without key, delay, dedup key or priority for which there is room, while nothing is due. Others are for
-- enqueue.lua. Returns the number of the first one; the others have those that follow.

local function are_plain()
  if meta.retention_us >= 0 then return false end
  local i, count = 2, 0
  while i <= #ARGV do
    local form = ARGV[i]
    if form == '3' then i = i + 4 elseif form == '4' then i = i + 5 else return false end
    count = count + 1
  end
  local most = bound_with(tonumber(ARGV[1]))
  return most < 0 or meta.live + count <= most
end

if open() and now < meta.due and are_plain() then
  local stream, number, largest = base .. 's0', meta.number, 0
  local first, count, i = math.max(number + 1, now), 0, 2
  number = first - 1
  while i <= #ARGV do
    number, count = number + 1, count + 1
    local id, type, bytes = ARGV[i + 1], ARGV[i + 2], nil
    if ARGV[i] == '3' then
      local data = ARGV[i + 3]
      redis.call('XADD', stream, text(number), 'id', id, 'type', type, 'data', data)
      bytes = #id + #type + #data + 10
      i = i + 4
    else
      local headers, data = ARGV[i + 3], ARGV[i + 4]
      redis.call('XADD', stream, text(number), 'id', id, 'type', type, 'headers', headers, 'data', data)
      bytes = #id + #type + #headers + #data + 17
      i = i + 5
    end
    if bytes > largest then largest = bytes end
  end
  set('number', number)
  if largest > meta.largest or meta.live == 0 then set('largest', largest) end
  live(count)
  woken = count
  return told(first)
end

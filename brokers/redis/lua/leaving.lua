-- Completions of plain tasks: they leave together.
local leaving
local function leave_together()
  if not leaving then return end
  local names = leaving.names
  remember(leaving.endings)
  if #leaving.alone > 0 then redis.call('ZREM', base .. 'l', unpack(leaving.alone)) end
  for fence, count in pairs(leaving.calls) do leave_call(fence, count) end
  redis.call('HDEL', base .. 't', unpack(names))
  for priority, some in pairs(leaving.streams) do redis.call('XDEL', base .. 's' .. priority, unpack(some)) end
  if meta.retention_us >= 0 then redis.call('ZREM', base .. 'r', unpack(names)) end
  live(-#names)
  leaving = nil
end

-- The record that was looked at last, and what it says: tasks that were handed out together have the same.
local seen, seen_fence, seen_priority, seen_deliveries, seen_call

-- Whether a completion was put among those that leave together.
local function leaves(name, fence, packed)
  if packed ~= seen or fence ~= seen_fence then
    if not packed or not is_plain(packed) then return false end
    local _, priority, state, deliveries, _, newest = struct.unpack(PLAIN, packed)
    if newest ~= tonumber(fence) or (state ~= 'l' and state ~= 'c') then return false end
    seen, seen_fence, seen_priority, seen_deliveries = packed, fence, priority, deliveries
    seen_call = state == 'c' and newest or nil
  end
  leaving = leaving or { names = {}, endings = {}, streams = {}, alone = {}, calls = {} }
  local place = #leaving.names + 1
  leaving.names[place], leaving.endings[place] = name, ending('S', name, fence, seen_deliveries)
  if seen_call then
    leaving.calls[seen_call] = (leaving.calls[seen_call] or 0) + 1
  else
    leaving.alone[#leaving.alone + 1] = name
  end
  local some = leaving.streams[seen_priority]
  if not some then
    some = {}
    leaving.streams[seen_priority] = some
  end
  some[#some + 1] = name
  return true
end

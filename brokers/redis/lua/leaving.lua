-- Completions of plain tasks: they leave together.
local leaving
local function leave_together()
  if not leaving then return end
  local names = leaving.names
  remember(leaving.endings)
  redis.call('ZREM', base .. 'l', unpack(names))
  redis.call('HDEL', base .. 't', unpack(names))
  for priority, some in pairs(leaving.streams) do redis.call('XDEL', base .. 's' .. priority, unpack(some)) end
  if meta.retention_us >= 0 then redis.call('ZREM', base .. 'r', unpack(names)) end
  live(-#names)
  leaving = nil
end

-- The record that was looked at last, and what it says: tasks that were handed out together have the same.
local seen, seen_fence, seen_priority, seen_deliveries

-- Whether a completion was put among those that leave together.
local function leaves(name, fence, packed)
  if packed ~= seen or fence ~= seen_fence then
    if not packed or not is_plain(packed) then return false end
    local _, priority, state, deliveries, _, newest = struct.unpack(PLAIN, packed)
    if newest ~= tonumber(fence) or state ~= 'l' then return false end
    seen, seen_fence, seen_priority, seen_deliveries = packed, fence, priority, deliveries
  end
  leaving = leaving or { names = {}, endings = {}, streams = {} }
  local place = #leaving.names + 1
  leaving.names[place], leaving.endings[place] = name, ending('S', name, fence, seen_deliveries)
  local some = leaving.streams[seen_priority]
  if not some then
    some = {}
    leaving.streams[seen_priority] = some
  end
  some[#some + 1] = name
  return true
end

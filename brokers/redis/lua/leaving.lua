-- Completions of plain tasks: they leave together.
local leaving
local function leave_together()
  if not leaving then return end
  local names = leaving.names
  remember(leaving.fences)
  redis.call('ZREM', base .. 'l', unpack(names))
  redis.call('HDEL', base .. 't', unpack(names))
  for priority, some in pairs(leaving.streams) do redis.call('XDEL', base .. 's' .. priority, unpack(some)) end
  if meta.retention_us >= 0 then redis.call('ZREM', base .. 'r', unpack(names)) end
  live(-#names)
  leaving = nil
end

-- Whether a completion was put among those that leave together.
local function leaves(name, fence, packed)
  if not packed or not is_plain(packed) then return false end
  local _, priority, state, _, _, newest = struct.unpack(PLAIN, packed)
  if newest ~= tonumber(fence) or state ~= 'l' then return false end
  leaving = leaving or { names = {}, fences = {}, streams = {} }
  local place = #leaving.names + 1
  leaving.names[place], leaving.fences[place] = name, 'S' .. fence
  local some = leaving.streams[priority] or {}
  some[#some + 1] = name
  leaving.streams[priority] = some
  return true
end

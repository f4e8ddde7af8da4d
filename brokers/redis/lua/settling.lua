-- What settle and extend share.

-- Why a token no longer counts: 'N'ot found, 'S'uperseded, 'E'xpired, 'A'lready settled; or its record.
local function refusal(id, number, fence)
  if not meta or id ~= meta.id then return 'N' end
  local record = record_of(number)
  if record and record.f == fence and not record.g and record.s ~= 'x' then return nil, record end
  local how = how_it_ended(text(fence))
  if how == 'S' then return 'A' end
  if how == 'D' then return 'E' end
  if not record then return 'N' end
  if record.f ~= fence then return 'S' end
  if record.g then return 'N' end
  return 'E'
end

-- Carries out a verdict. Returns the state that the task is in: 'D'one, dead 'X', 'R'eady or 'W'aiting.
local function carry_out(number, record, verdict, after_us, said)
  remember({ 'S' .. text(record.f) })
  record.g = true
  if verdict == 'C' then
    leave(number, record)
    return 'D'
  elseif verdict == 'X' then
    die(number, record, said)
    return 'X'
  elseif verdict == 'R' then
    record.err = said ~= '' and said or nil
    if attempts_of(record) >= meta.attempts then
      die(number, record, 'attempts exhausted')
      return 'X'
    end
  else
    record.c = record.c + 1
  end
  come_back(number, record, after_us, now)
  if redis.call('HEXISTS', base .. 't', text(number)) == 0 then return 'D' end
  return record.s == 's' and 'W' or 'R'
end

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

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

-- Completions of tasks that lie in no order and have no dedup key: they leave together.
local leaving
local function leave_together()
  if not leaving then return end
  local names = leaving.names
  remember(leaving.fences)
  redis.call('ZREM', base .. 'l', unpack(names))
  redis.call('HDEL', base .. 't', unpack(names))
  for stream, ids in pairs(leaving.streams) do redis.call('XDEL', base .. stream, unpack(ids)) end
  if meta.retention_us >= 0 then redis.call('ZREM', base .. 'r', unpack(names)) end
  live(-#names)
  leaving = nil
end

-- Whether a completion was put among those that leave together.
local function leaves(number, fence, packed)
  if not packed then return false end
  local record = cmsgpack.unpack(packed)
  if record.f ~= fence or record.g or record.s ~= 'l' or record.k or record.u then return false end
  leaving = leaving or { names = {}, fences = {}, streams = {} }
  leaving.names[#leaving.names + 1] = text(number)
  leaving.fences[#leaving.fences + 1] = 'S' .. text(fence)
  local ids = leaving.streams[record.st] or {}
  ids[#ids + 1] = entry_id(number)
  leaving.streams[record.st] = ids
  return true
end

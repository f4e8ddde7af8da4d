-- What settle and extend share.

-- Why a token no longer counts: 'N'ot found, 'S'uperseded, 'E'xpired, 'A'lready settled; or its record.
local function refusal(id, number, fence)
  if not meta or id ~= meta.id then return 'N' end
  local record = record_of(number)
  if record and record.f == fence and not record.g and record.s ~= 'x' then return nil, record end
  local how = how_it_ended(number, fence)
  if how == 'S' then return 'A' end
  if how == 'D' then return 'E' end
  if not record then return 'N' end
  if record.f ~= fence then return 'S' end
  if record.g then return 'N' end
  return 'E'
end

-- Carries out a verdict. Returns the state that the task is in: 'D'one, dead 'X', 'R'eady or 'W'aiting.
local function carry_out(number, record, verdict, after_us, said)
  -- WHY: one that comes back is handed out again.
  remember({ ending('S', text(number), text(record.f), verdict == 'C' and record.n) })
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

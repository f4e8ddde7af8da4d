-- Handing out tasks, as receive.lua says it.

local want, consumer = tonumber(ARGV[1]), ARGV[4]
local lease_us = tonumber(ARGV[2])
local bytes, bytes_max = 0, tonumber(ARGV[7])
-- The leases, one after the other: an answer with fewer tables costs less.
local leases = {}
-- One fence for all that is handed out here: a number and its fence tell one delivery from all others.
local fence, till
-- Records and ends of leases, written together.
local kept, timed = {}, {}
-- New tasks that are so many that their leases are those of a call, from their first number to the last.
local CALL_MIN = 4
local called, called_first, called_last = 0, nil, nil
-- What a receive that has a name remembers.
local name, numbers, fences = ARGV[5], {}, {}

local function add(number, record, fields)
  want = want - 1
  bytes = bytes + bytes_of(fields, 1, #fields)
  local lease = {
    number, record.f, record.p, record.n, attempts_of(record), record.m and cmsgpack.pack(record.m) or false,
    record.err or false, record.e0 or record.e, #fields,
  }
  local place = #leases
  for i = 1, #lease do leases[place + i] = lease[i] end
  place = place + #lease
  for i = 1, #fields do leases[place + i] = fields[i] end
  numbers[#numbers + 1], fences[#fences + 1] = number, record.f
end

local function hand_out(name, number, record, fields)
  fence = fence or next_of('fence')
  record.n, record.f, record.g, record.s = record.n + 1, fence, nil, 'l'
  local place = #kept
  kept[place + 1], kept[place + 2] = name, pack(record)
  timed[place + 1], timed[place + 2] = till, name
  add(number, record, fields)
end

-- INVARIANT: what is read is handed out, so no more are read at a time than fit if each is the largest; one always is.
local function fitting()
  return math.min(want, math.max(math.floor((bytes_max - bytes) / math.max(meta.largest, 1)), 1))
end
local function has_room() return want > 0 and bytes < bytes_max end

-- Whether an entry has the fields of a task without headers or key, in the order in which they are sent.
local function is_short(fields)
  return #fields == 6 and fields[1] == 'id' and fields[3] == 'type' and fields[5] == 'data'
end

-- Hands out entries of which nothing is written down yet, as they are.
local function hand_out_new(entries, level)
  fence = fence or next_of('fence')
  -- WHY: what is remembered of a receive with a name tells when each of its leases ends.
  local is_call = level == 0 and #entries >= CALL_MIN and name == ''
  local packed = packed_plain(level, is_call and 'c' or 'l', 1, 0, fence)
  local place, last = #kept, #leases
  for i = 1, #entries do
    local entry = entries[i]
    local id, fields = entry[1], entry[2]
    local number = name_of(id)
    kept[place + 1], kept[place + 2] = number, packed
    if not is_call then timed[#timed + 1], timed[#timed + 2] = till, number end
    place = place + 2
    leases[last + 1] = id
    -- WHY: each part of an answer costs.
    if level == 0 and is_short(fields) then
      leases[last + 2], leases[last + 3], leases[last + 4] = fields[2], fields[4], fields[6]
      last = last + 4
    else
      local count = #fields
      leases[last + 2], leases[last + 3] = level, count
      for j = 1, count do leases[last + 3 + j] = fields[j] end
      last = last + 3 + count
    end
    if name ~= '' then numbers[#numbers + 1], fences[#fences + 1] = tonumber(number), fence end
  end
  want = want - #entries
  if is_call then
    called_first = called_first or number_of(entries[1][1])
    called, called_last = called + #entries, number_of(entries[#entries][1])
  end
end

local function read(stream, level, count)
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count, 'NOACK', 'STREAMS',
    base .. stream, '>')
  local entries = read and read[1] and read[1][2] or {}
  if #entries == 0 then return 0 end
  if level == 0 then
    set('place', number_of(entries[#entries][1]))
  else
    redis.call('HSET', KEYS[1], 'at:' .. stream, entries[#entries][1])
  end
  if meta.noted == 0 then
    hand_out_new(entries, level)
    if want > 0 then
      for _, entry in ipairs(entries) do bytes = bytes + bytes_of(entry[2], 1, #entry[2]) end
    end
    return #entries
  end
  local names = {}
  for place, entry in ipairs(entries) do names[place] = name_of(entry[1]) end
  local records = redis.call('HMGET', base .. 't', unpack(names))
  for place, entry in ipairs(entries) do
    local number = tonumber(names[place])
    local record = records[place] and unpacked(records[place], number) or fresh(number, stream, level)
    hand_out(names[place], number, record, entry[2])
  end
  return #entries
end

-- Whether there is a queue to hand out from.
local function begin()
  if not open() then return false end
  if lease_us < 0 then lease_us = meta.lease_us end
  till = text(now + lease_us)
  return true
end

-- Writes down what was handed out, and answers.
local function handed_out()
  local due = -1
  if #leases > 0 then
    if #kept > 0 then redis.call('HSET', base .. 't', unpack(kept)) end
    if #timed > 0 then redis.call('ZADD', base .. 'l', unpack(timed)) end
    if called > 0 then begin_call(fence, called_first, called_last, called, till) end
    due_by(now + lease_us)
  elseif meta.due < NEVER then
    due = math.max(meta.due - now, 0)
  end
  return told({ leases, lease_us, due, meta.id, now, fence or 0 })
end

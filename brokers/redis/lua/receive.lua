-- Hands out tasks: the highest priority first, then what has been available longest.
--
-- ARGV  most tasks, lease_us or -1 for the queue's, most tasks of one key, the consumer's name, the receive's own name
--       or nothing, and with a name whether what an earlier one of it was handed is wanted: 'again' or nothing, 'new'
--       tasks only, or 'either'; bytes of tasks after which no more are handed out, above zero
-- Returns the leases, each {number, fence, priority, deliveries, attempts, record of a move or false, last error or
-- false, fields, when it was first sent}; the length of the leases; where nothing was handed out how long until
-- something may be due, in microseconds, else -1; the queue's id; the time; the bytes of the tasks.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
local want, per_key, consumer = tonumber(ARGV[1]), tonumber(ARGV[3]), ARGV[4]
local lease_us = tonumber(ARGV[2])
if lease_us < 0 then lease_us = meta.lease_us end
local name, wanted = ARGV[5], ARGV[6]
local bytes, bytes_max = 0, tonumber(ARGV[7])
local leases = {}
local fence
-- Records and ends of leases, written together.
local kept, timed = {}, {}

local till = text(now + lease_us)
local function add(number, record, fields)
  want = want - 1
  bytes = bytes + bytes_of(fields, 1, #fields)
  leases[#leases + 1] = {
    number, record.f, record.p, record.n, attempts_of(record), record.m and cmsgpack.pack(record.m) or false,
    record.err or false, fields, record.e0 or record.e,
  }
end

local function hand_out(name, number, record, fields)
  fence = fence and fence + 1 or next_of('fence')
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

local function hand_out_again(number)
  local record = record_of(number)
  timed[#timed + 1], timed[#timed + 2] = till, text(number)
  add(number, record, fields_of(number, record))
end

local function read(stream, level, count)
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count, 'NOACK', 'STREAMS',
    base .. stream, '>')
  local entries = read and read[1] and read[1][2] or {}
  if #entries == 0 then return 0 end
  local names = {}
  for place, entry in ipairs(entries) do names[place] = name_of(entry[1]) end
  local records = redis.call('HMGET', base .. 't', unpack(names))
  for place, entry in ipairs(entries) do
    local number = tonumber(names[place])
    local record = records[place] and unpacked(records[place]) or fresh(number, stream, level)
    hand_out(names[place], number, record, entry[2])
  end
  redis.call('HSET', KEYS[1], 'at:' .. stream, entries[#entries][1])
  return #entries
end

local function take(level, turn)
  local number, key = tonumber(string.sub(turn, 1, 17)), string.sub(turn, 18)
  if key == '' then
    redis.call('ZREM', base .. 'a' .. level, turn)
    local record = record_of(number)
    hand_out(text(number), number, record, fields_of(number, record))
    return
  end
  for _, member in ipairs(lane_head(key, math.min(per_key, want))) do
    local record = record_of(member)
    if record.s ~= 'r' or not has_room() then break end
    redis.call('HINCRBY', base .. 'k', key, 1)
    hand_out(text(member), member, record, fields_of(member, record))
  end
  refresh(key, now)
end

local before = name ~= '' and wanted ~= 'new' and given_before(name) or {}
local is_again = #before > 0 and #before <= want
if is_again then
  for _, number in ipairs(before) do hand_out_again(number) end
elseif wanted ~= 'again' and not meta.paused then
  for _, level in ipairs(priorities()) do
    local stream = 's' .. level
    while has_room() do
      local turn = redis.call('ZRANGE', base .. 'a' .. level, 0, 0, 'WITHSCORES')
      if not turn[1] then
        if read(stream, tonumber(level), fitting()) == 0 then break end
      else
        local fresh_one = redis.call('XRANGE', base .. stream, '(' .. group_place(stream), '+', 'COUNT', 1)[1]
        if fresh_one and number_of(fresh_one[1]) < tonumber(turn[2]) then
          read(stream, tonumber(level), 1)
        else
          take(level, turn[1])
        end
      end
    end
    if not has_room() then break end
  end
end
local due = -1
if #leases > 0 then
  if fence then
    set('fence', fence)
    redis.call('HSET', base .. 't', unpack(kept))
  end
  redis.call('ZADD', base .. 'l', unpack(timed))
  due_by(now + lease_us)
  if name ~= '' then
    local numbers, fences = {}, {}
    for place, lease in ipairs(leases) do numbers[place], fences[place] = lease[1], lease[2] end
    remember_attempt(name, numbers, fences, now + lease_us)
  end
elseif meta.due < NEVER then
  due = math.max(meta.due - now, 0)
end
return told({ leases, lease_us, due, meta.id, now, bytes })

-- What scripts share of tasks that are more than new: their records, orders by key, timers, deaths.

local function record_of(number)
  local packed = redis.call('HGET', base .. 't', text(number))
  return packed and unpacked(packed, number) or nil
end
local function keep(number, record)
  redis.call('HSET', base .. 't', text(number), pack(record))
end
local function stream_of(priority)
  local stream = 's' .. text(priority)
  if priority > 0 and redis.call('ZADD', base .. 'lv', priority, priority) == 1 then
    redis.call('XGROUP', 'CREATE', base .. stream, GROUP, '0', 'MKSTREAM')
    if meta.levels == 0 then set('levels', 1) end
  end
  return stream
end
local function priorities()
  if meta.levels == 0 then return { '0' } end
  local levels = redis.call('ZREVRANGE', base .. 'lv', 0, -1)
  levels[#levels + 1] = '0'
  return levels
end
-- The entries of a level that nobody was handed yet, from the one after the group's place.
local function group_place(stream)
  if stream == 's0' then return text(meta.place) .. '-0' end
  local place = redis.call('HGET', KEYS[1], 'at:' .. stream)
  return place or '0-0'
end

-- Order by key.
local function lane_prefix(key) return string.format('%03d', #key) .. key end
local function lane_member(key, number) return lane_prefix(key) .. string.format('%017d', number) end
local function lane_head(key, count)
  local prefix = lane_prefix(key)
  local members = redis.call('ZRANGEBYLEX', base .. 'w', '[' .. prefix, '(' .. prefix .. ':', 'LIMIT', 0, count)
  for i, member in ipairs(members) do members[i] = tonumber(string.sub(member, #prefix + 1)) end
  return members
end

-- Works out whether a key is available: none of its tasks leased, and its first one ready. One that stays
-- available keeps its turn.
local function refresh(key, since)
  local turn = redis.call('HGET', base .. 'q', key)
  local head
  if not redis.call('HGET', base .. 'k', key) then
    local first = lane_head(key, 1)[1]
    local record = first and record_of(first)
    if record and record.s == 'r' then head = first end
  end
  if head and not turn then
    turn = string.format('%017d', head) .. key
    redis.call('HSET', base .. 'q', key, turn)
    redis.call('ZADD', base .. 'a0', since, turn)
    return true
  elseif turn and not head then
    redis.call('HDEL', base .. 'q', key)
    redis.call('ZREM', base .. 'a0', turn)
  end
  return false
end

-- Puts a live task among what is available, whatever it was before.
local function available(number, record, since)
  record.s = 'r'
  if record.k then
    keep(number, record)
    if refresh(record.k, since) then woken = woken + 1 end
  else
    keep(number, record)
    redis.call('ZADD', base .. 'a' .. text(record.p), since, string.format('%017d', number))
    woken = woken + 1
  end
end

-- Takes a task from where its state keeps it, its key's place included if it leaves for good.
local function unplace(number, record, since, for_good)
  local name = text(number)
  if record.call then
    leave_call(record.call, 1)
    record.call = nil
  elseif record.s == 'l' then
    redis.call('ZREM', base .. 'l', name)
    if record.k and redis.call('HINCRBY', base .. 'k', record.k, -1) <= 0 then
      redis.call('HDEL', base .. 'k', record.k)
    end
  elseif record.s == 's' then
    redis.call('ZREM', base .. 'd', name)
  elseif record.s == 'x' then
    redis.call('ZREM', base .. 'x', name)
  elseif not record.k then
    redis.call('ZREM', base .. 'a' .. text(record.p), string.format('%017d', number))
  end
  if record.k and for_good then
    redis.call('ZREM', base .. 'w', lane_member(record.k, number))
  end
end

local function free_key(number, record)
  if not record.u then return end
  local held = redis.call('HGET', base .. 'u', record.u)
  if held then
    local holder = cmsgpack.unpack(held)
    if holder.n == number and holder.t == 0 then redis.call('HDEL', base .. 'u', record.u) end
  end
end

-- Drops a task for good. It was unplaced before.
local function drop(number, record)
  local name = text(number)
  redis.call('HDEL', base .. 't', name)
  redis.call('XDEL', base .. record.st, text(number))
  if meta.retention_us >= 0 then redis.call('ZREM', base .. 'r', name) end
end

local function leave(number, record)
  unplace(number, record, now, true)
  free_key(number, record)
  drop(number, record)
  live(-1)
  if record.k and refresh(record.k, now) then woken = woken + 1 end
end

local function how_it_ended(number, fence)
  local function is_over(part, how, deliveries)
    return redis.call('SISMEMBER', base .. 'o:' .. text(part), ending(how, text(number), text(fence), deliveries)) == 1
  end
  for part = meta.over, math.max(meta.over - OVER_PARTS + 1, 0), -1 do
    if is_over(part, 'S', 1) or is_over(part, 'S') then return 'S' end
    if is_over(part, 'D') then return 'D' end
  end
  return nil
end

local function fields_of(number, record)
  local entries = redis.call('XRANGE', base .. record.st, text(number), text(number))
  return entries[1] and entries[1][2]
end

-- Writes down that a task is on its way to another queue; it is no longer here. Whoever sees it carries it over.
local function send_away(number, record, target, kind)
  local move = kind .. ':' .. text(number) .. ':' .. text(now)
  local packed = cmsgpack.pack({ to = target, kind = kind, record = record, fields = fields_of(number, record) })
  redis.call('HSET', base .. 'j', meta.id .. ':' .. move, packed)
  set('moves', meta.moves + 1)
end

local function die(number, record, reason)
  local named = redis.call('HMGET', KEYS[1], 'name', 'dlq')
  record.x = { q = named[1], r = reason, a = attempts_of(record), t = now, e = record.err }
  unplace(number, record, now, true)
  free_key(number, record)
  live(-1)
  if meta.retention_us >= 0 then redis.call('ZREM', base .. 'r', text(number)) end
  if named[2] ~= '' then
    send_away(number, record, named[2], 'dead')
    redis.call('HDEL', base .. 't', text(number))
    redis.call('XDEL', base .. record.st, text(number))
  else
    record.s = 'x'
    keep(number, record)
    redis.call('ZADD', base .. 'x', now, text(number))
    due_by(now + meta.dead_retention_us)
  end
  if record.k and refresh(record.k, now) then woken = woken + 1 end
end

-- Puts a task that was held back into the queue, or drops it if its retention is over.
local function come_back(number, record, after, since)
  unplace(number, record, since, false)
  if meta.retention_us >= 0 and record.e + meta.retention_us <= since then
    record.s = 'r'
    if record.k then redis.call('ZREM', base .. 'w', lane_member(record.k, number)) end
    free_key(number, record)
    drop(number, record)
    live(-1)
    if record.k then refresh(record.k, since) end
    return
  end
  if after > 0 then
    record.s = 's'
    keep(number, record)
    redis.call('ZADD', base .. 'd', since + after, text(number))
    due_by(since + after)
    if record.k then refresh(record.k, since) end
  else
    available(number, record, since)
  end
end

-- Does what is due: leases that ended, tasks whose time has come, retention, dedup windows.
local function advance()
  if now < meta.due then return end
  local function end_lease(number, record, at)
    if attempts_of(record) >= meta.attempts then
      remember({ ending('D', text(number), text(record.f)) })
      die(number, record, 'lease ended')
    else
      come_back(number, record, 0, at)
    end
  end
  local ended = redis.call('ZRANGEBYSCORE', base .. 'l', '-inf', now, 'WITHSCORES', 'LIMIT', 0, TIDY_MAX)
  for i = 1, #ended, 2 do
    local number, at = tonumber(ended[i]), tonumber(ended[i + 1])
    end_lease(number, record_of(number), at)
  end
  local bytes = 0
  local calls = redis.call('ZRANGEBYSCORE', base .. 'c', '-inf', now, 'WITHSCORES', 'LIMIT', 0, TIDY_CALLS_MAX)
  for i = 1, #calls, 2 do
    if bytes > TIDY_BYTES_MAX then break end
    local fence, at = tonumber(calls[i]), tonumber(calls[i + 1])
    local first, last = struct.unpack(CALL, redis.call('HGET', base .. 'ci', calls[i]))
    for _, entry in ipairs(redis.call('XRANGE', base .. 's0', text(first), text(last))) do
      local number = number_of(entry[1])
      local record = record_of(number)
      bytes = bytes + bytes_of(entry[2], 1, #entry[2])
      if record and record.call == fence then end_lease(number, record, at) end
    end
  end
  local due = redis.call('ZRANGEBYSCORE', base .. 'd', '-inf', now, 'WITHSCORES', 'LIMIT', 0, TIDY_MAX)
  for i = 1, #due, 2 do
    local number, at = tonumber(due[i]), tonumber(due[i + 1])
    redis.call('ZREM', base .. 'd', due[i])
    available(number, record_of(number), at)
  end
  if meta.retention_us >= 0 then
    local old = redis.call('ZRANGEBYSCORE', base .. 'r', '-inf', now - meta.retention_us, 'LIMIT', 0, TIDY_MAX)
    for _, name in ipairs(old) do
      local number = tonumber(name)
      local record = record_of(number)
      if not record then
        -- WHY: one that is new is in the stream of its priority, which its entry in `r` does not tell.
        for _, level in ipairs(priorities()) do
          local id = text(number)
          if redis.call('XDEL', base .. 's' .. level, id) == 1 then
            redis.call('ZREM', base .. 'r', name)
            live(-1)
            break
          end
        end
      elseif record.s ~= 'l' then
        leave(number, record)
      else
        -- WHY: a leased one is looked at again when it comes back.
        redis.call('ZREM', base .. 'r', name)
      end
    end
  end
  local gone = redis.call('ZRANGEBYSCORE', base .. 'x', '-inf', now - meta.dead_retention_us, 'LIMIT', 0, TIDY_MAX)
  for _, name in ipairs(gone) do
    local number = tonumber(name)
    redis.call('ZREM', base .. 'x', name)
    drop(number, record_of(number))
  end
  local over = redis.call('ZRANGEBYSCORE', base .. 'ue', '-inf', now, 'WITHSCORES', 'LIMIT', 0, TIDY_MAX)
  for i = 1, #over, 2 do
    redis.call('ZREM', base .. 'ue', over[i])
    local held = redis.call('HGET', base .. 'u', over[i])
    if held and cmsgpack.unpack(held).t == tonumber(over[i + 1]) then redis.call('HDEL', base .. 'u', over[i]) end
  end
  local due = NEVER
  local function first(timers, after)
    local first_one = redis.call('ZRANGE', base .. timers, 0, 0, 'WITHSCORES')
    if first_one[2] then due = math.min(due, tonumber(first_one[2]) + after) end
  end
  first('l', 0)
  first('c', 0)
  first('d', 0)
  first('ue', 0)
  first('x', meta.dead_retention_us)
  if meta.retention_us >= 0 then first('r', meta.retention_us) end
  set('due', due)
end

-- Counts a task that has entered, and its retention begins.
local function come_to_live(number)
  if meta.retention_us >= 0 then
    redis.call('ZADD', base .. 'r', number, text(number))
    due_by(number + meta.retention_us)
  end
  live(1)
end

-- A task to send that begins at an argument, and where the next one does. Each has its form first: '3' is id, type and
-- data; '4' is id, type, headers and data; 'T' is id, priority, delay_us, ordering key or '', dedup key or '', its
-- window_us (0 is until the task is done), the number of its fields, and names and values.
local function task_at(i)
  local task = { id = ARGV[i + 1], priority = 0, delay_us = 0, key = '', dedup = '', window_us = -1 }
  if ARGV[i] == '3' then
    task.fields = { 'id', task.id, 'type', ARGV[i + 2], 'data', ARGV[i + 3] }
    return task, i + 4
  elseif ARGV[i] == '4' then
    task.fields = { 'id', task.id, 'type', ARGV[i + 2], 'headers', ARGV[i + 3], 'data', ARGV[i + 4] }
    return task, i + 5
  end
  task.priority, task.delay_us = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  task.key, task.dedup, task.window_us = ARGV[i + 4], ARGV[i + 5], tonumber(ARGV[i + 6])
  local last = i + 7 + ARGV[i + 7]
  task.fields = { unpack(ARGV, i + 8, last) }
  return task, last + 1
end

-- Sends a task in. Admission was decided. Returns its number.
local function enter(task)
  local number = next_of('number')
  local dedup, window_us = task.dedup, task.window_us
  local record
  local ordered = meta.ordered and task.key ~= ''
  local stream = 'h'
  if not ordered and task.delay_us == 0 then stream = stream_of(task.priority) end
  redis.call('XADD', base .. stream, text(number), unpack(task.fields))
  if stream ~= 'h' then
    local bytes = bytes_of(task.fields, 1, #task.fields)
    if bytes > meta.largest or meta.live == 0 then set('largest', bytes) end
  end
  if stream == 'h' or (dedup ~= '' and window_us == 0) then
    record = fresh(number, stream, task.priority)
    if ordered then record.k = task.key end
    if dedup ~= '' and window_us == 0 then record.u = dedup end
  end
  if dedup ~= '' then
    local till = window_us > 0 and now + window_us or 0
    redis.call('HSET', base .. 'u', dedup, cmsgpack.pack({ i = task.id, n = number, t = till }))
    if till > 0 then
      redis.call('ZADD', base .. 'ue', till, dedup)
      due_by(till)
    end
  end
  come_to_live(number)
  if stream ~= 'h' then
    if record then
      keep(number, record)
      if meta.noted == 0 then set('noted', 1) end
    end
    woken = woken + 1
  else
    if record.k then redis.call('ZADD', base .. 'w', 0, lane_member(task.key, number)) end
    if task.delay_us > 0 then
      stream_of(task.priority)
      record.s = 's'
      keep(number, record)
      redis.call('ZADD', base .. 'd', now + task.delay_us, text(number))
      due_by(now + task.delay_us)
    else
      available(number, record, number)
    end
  end
  return number
end

-- One partition of a queue: what all scripts share. It is put before each of them.
--
-- WHY: each call makes all functions of its script anew, so those that plain tasks do not need are in tasks.lua, behind
-- what answers for plain tasks.
--
-- KEYS[1]  the partition's meta hash; its name less the last letter is the prefix of all other keys, so
--          that everything a script touches lies in one slot.
--
--   m     hash    id, spec, revision, name, dlq, capacity, lease_us, attempts, ordered, retention_us, dead_retention_us,
--                 paused; settings (what scripts read of these, packed); state (what changes with the tasks, packed);
--                 at:sL (the last entry of sL that was handed out, L above 0)
--   sL    stream  tasks of priority L that were ready when they were sent, read through the group `tidegate`
--   h     stream  all other tasks: those with a delay, with an ordering key, and those that were moved here
--   aL    zset    what is available again at priority L: turns, by the time since when they are
--   lv    zset    the priorities above 0 that were ever used
--   t     hash    number -> record, of each task that is more than new
--   l d x zset    numbers of leased, scheduled and dead tasks, by the end of the lease, the due time, the death
--                 (t and l have one entry more, see spread.lua)
--   c     zset    fences of calls that handed out many new tasks, by the end of their leases: these are not in l
--   ci    hash    fence -> such a call: its first and last number, and how many of its leases are left
--   r     zset    numbers by the time they entered, if the queue has a retention
--   w     zset    ordering key and number of each task of an ordered queue, in lexical order
--   k     hash    ordering key -> how many of its tasks are leased
--   q     hash    ordering key -> its turn in a0, while it is available
--   u ue  hash    dedup key -> who holds it; zset of the ends of their windows
--   o:N   set     deliveries that are over, in the Nth part of the memory; the parts expire. One that was its task's
--                 first and only one is its number, others are how they ended, number and fence
--   b be  hash    name of a receive -> what it was handed; zset of the names by when they are forgotten
--   j     hash    tasks on their way to another queue, by the name of the move
--   v     zset    names of the moves that arrived here, by time
--   gm    zset    members of the queue's group by the time they were last heard of; in the first partition only, as
--   go    hash    partition -> the member that owns it
--
-- A number is the microsecond at which the task entered, or the one after the last: numbers grow, and
-- those of what waits in a stream are the times since when it is available. Times are the server's.

local base = string.sub(KEYS[1], 1, -2)
local now
do
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local GROUP = 'tidegate'
-- limits::SETTLED_MEMORY in parts of a minute, each of a fifth of limits::SETTLED_MEMORY_MAX.
local OVER_PART_S, OVER_PARTS, OVER_PART_MAX = 60, 6, 20000
-- What one call tidies up at most, so that none of them blocks the server for long.
local TIDY_MAX, TIDY_CALLS_MAX, TIDY_BYTES_MAX = 2000, 20, 16777216
-- How long the names of moves are kept: far longer than a move takes.
local MOVES_US = 86400000000

-- WHY: three times as fast as '%.0f', and exact where a long has 64 bits.
local function text(number) return string.format('%d', number) end
-- The id of an entry is its number, with a zero for what Redis counts behind it.
local function name_of(id) return string.sub(id, 1, -3) end
local function number_of(id) return tonumber(name_of(id)) end

-- Later than any time that is due.
local NEVER = 9007199254740992

-- WHY: reading and writing many fields costs more than most of what is done with them.
local SETTINGS = '<ddddddd'
-- number (last one given), fence (last one given), live (ready + scheduled + leased), due (nothing in l, c, d, x, r
-- and ue is due before it), moves (tasks in j), place (the last number of s0 that was handed out), over, over_since and
-- over_count (the part that o is at, since when, and with how many), largest (bytes that no task in the streams of the
-- priorities exceeds), levels (1 if there are any above 0), noted (1 if a task that was
-- never handed out may have a record all the same), called (leases left of the calls in ci).
local STATE = '<ddddddddddddd'

-- Meta: nil if there is no such queue.
local meta
local function open()
  if meta then return true end
  local fields = redis.call('HMGET', KEYS[1], 'id', 'settings', 'state')
  if not fields[1] then return false end
  local capacity, lease_us, attempts, ordered, retention_us, dead_retention_us, paused =
    struct.unpack(SETTINGS, fields[2])
  local number, fence, live, due, moves, place, over, over_since, over_count, largest, levels, noted, called =
    struct.unpack(STATE, fields[3])
  meta = {
    id = fields[1], capacity = capacity, lease_us = lease_us, attempts = attempts, ordered = ordered == 1,
    retention_us = retention_us, dead_retention_us = dead_retention_us, paused = paused == 1,
    number = number, fence = fence, live = live, due = due, moves = moves, place = place, over = over,
    over_since = over_since, over_count = over_count, largest = largest, levels = levels, noted = noted,
    called = called,
  }
  return true
end

-- What changes of meta is written once, at the end.
local is_changed = false
local function set(name, value)
  meta[name] = value
  is_changed = true
end
local function save()
  if not is_changed then return end
  is_changed = false
  redis.call('HSET', KEYS[1], 'state', struct.pack(STATE, meta.number, meta.fence, meta.live, meta.due, meta.moves,
    meta.place, meta.over, meta.over_since, meta.over_count, meta.largest, meta.levels, meta.noted, meta.called))
end

local function next_of(counter)
  set(counter, math.max(meta[counter] + 1, now))
  return meta[counter]
end

local function live(by) set('live', meta.live + by) end

-- INVARIANT: called with every time that is put into l, c, d, x, r or ue, the retention added, so that nothing is due
-- before `due`, and a look at them is spared until then.
local function due_by(at)
  if at < meta.due then set('due', at) end
end

-- Records: {stream, priority, deliveries, uncounted, fence, settled, entered, state, key, dedup, err, dead, moved}
-- as a map with short names, so that what is absent costs nothing. `st` is the letter of the stream, `s` the state:
-- 'r'eady, 's'cheduled, 'l'eased or 'x' for dead. One that has only what every record has is packed in fewer bytes,
-- which are the same for all that were handed out together: it entered at its number. Packed, 'c' is leased by one of
-- the calls in `ci`; unpacked that is 'l', and `call` is the call's fence, until the lease is not the call's any more.
local PLAIN = '>BBc1I4I4d'
local function packed_plain(priority, state, deliveries, uncounted, fence)
  return struct.pack(PLAIN, 0, priority, state, deliveries, uncounted, fence)
end
local function pack(record)
  if record.st == 'h' or record.k or record.u or record.err or record.x or record.m or record.g or record.e0 then
    return cmsgpack.pack(record)
  end
  return packed_plain(record.p, record.s, record.n, record.c, record.f)
end
local function is_plain(packed) return string.byte(packed) == 0 end
local function unpacked(packed, number)
  if not is_plain(packed) then return cmsgpack.unpack(packed) end
  local _, priority, state, deliveries, uncounted, fence = struct.unpack(PLAIN, packed)
  local call = state == 'c' and fence or nil
  if call then state = 'l' end
  return {
    st = 's' .. priority, p = priority, n = deliveries, c = uncounted, f = fence, e = number, s = state, call = call,
  }
end
local function attempts_of(record) return math.max(record.n - record.c, 0) end
local function fresh(number, stream, priority)
  return { st = stream, p = priority, n = 0, c = 0, f = 0, e = number, s = 'r' }
end

-- Many leases of one call begin and mostly end together, so they share an end and are counted.
local CALL = '<ddd'
local function begin_call(fence, first, last, count, till)
  redis.call('HSET', base .. 'ci', text(fence), struct.pack(CALL, first, last, count))
  redis.call('ZADD', base .. 'c', till, text(fence))
  set('called', meta.called + count)
end
-- Leases of a call are over, or are in l from now on.
local function leave_call(fence, count)
  local name = text(fence)
  local first, last, left = struct.unpack(CALL, redis.call('HGET', base .. 'ci', name))
  if left > count then
    redis.call('HSET', base .. 'ci', name, struct.pack(CALL, first, last, left - count))
  else
    redis.call('HDEL', base .. 'ci', name)
    redis.call('ZREM', base .. 'c', name)
  end
  set('called', meta.called - count)
end

-- What is remembered of a delivery that ended: 'S'ettled, or 'D'ied of the end of its lease.
local function ending(how, number, fence, deliveries)
  -- WHY: of a task's only delivery its number says enough.
  if how == 'S' and deliveries == 1 then return number end
  return how .. number .. ':' .. fence
end
local function remember(ended)
  if now - meta.over_since >= OVER_PART_S * 1000000 or meta.over_count >= OVER_PART_MAX then
    set('over', meta.over + 1)
    set('over_since', now)
    set('over_count', 0)
    redis.call('UNLINK', base .. 'o:' .. text(meta.over - OVER_PARTS))
  end
  local part = base .. 'o:' .. text(meta.over)
  redis.call('SADD', part, unpack(ended))
  -- WHY: nothing is added after its time, so once is enough.
  if meta.over_count == 0 then redis.call('EXPIRE', part, OVER_PART_S * (OVER_PARTS + 1)) end
  set('over_count', meta.over_count + #ended)
end

-- How many tasks became available.
local woken = 0

-- Tells those who wait that something is available, and how many moves are not done yet.
local function told(answer)
  if meta then save() end
  if woken > 0 then redis.call('PUBLISH', base .. 'n', woken) end
  return { meta and meta.moves or 0, answer }
end

-- Names and values together.
local function bytes_of(fields, first, last)
  local bytes = 0
  for i = first, last do bytes = bytes + #fields[i] end
  return bytes
end

-- The most tasks that the partition takes, below zero for any number, of a sender with a bound of its own.
local function bound_with(own)
  if own >= 0 and (meta.capacity < 0 or own < meta.capacity) then return own end
  return meta.capacity
end

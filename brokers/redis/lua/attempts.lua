-- Receives that have a name, by which they can be made again.

-- limits::ATTEMPT_MEMORY and ATTEMPT_MEMORY_MAX.
local ATTEMPT_S, ATTEMPTS_MAX = 300, 100000

-- The numbers of the tasks that an earlier receive of this name was handed here: none if there was no such
-- receive, nil if not all of them are held as they were then.
local function given_before(name)
  local packed = redis.call('HGET', base .. 'b', name)
  local given = packed and cmsgpack.unpack(packed)
  if not given or given.till <= now then return {} end
  for place, number in ipairs(given.numbers) do
    local record = record_of(number)
    local is_held = record and record.s == 'l' and record.f == given.fences[place]
    if not is_held or tonumber(redis.call('ZSCORE', base .. 'l', text(number))) ~= given.ends then return nil end
  end
  return given.numbers
end

local function forget_attempt(name)
  redis.call('HDEL', base .. 'b', name)
  redis.call('ZREM', base .. 'be', name)
end

local function remember_attempt(name, numbers, fences, ends)
  local till = now + ATTEMPT_S * 1000000
  local given = { numbers = numbers, fences = fences, ends = ends, till = till }
  redis.call('HSET', base .. 'b', name, cmsgpack.pack(given))
  redis.call('ZADD', base .. 'be', till, name)
  for _, over in ipairs(redis.call('ZRANGEBYSCORE', base .. 'be', '-inf', now, 'LIMIT', 0, TIDY_MAX)) do
    forget_attempt(over)
  end
  if redis.call('ZCARD', base .. 'be') > ATTEMPTS_MAX then
    forget_attempt(redis.call('ZRANGE', base .. 'be', 0, 0)[1])
  end
  for _, letters in ipairs({ 'b', 'be' }) do redis.call('EXPIRE', base .. letters, ATTEMPT_S + 1) end
end

-- What looking at tasks shares.

-- A task as it lies here: {number, state, until or -1, priority, deliveries, attempts, why it died or false, last
-- error or false, fields, the time it was first sent}.
local function view(number, record, fields)
  local till = -1
  if record.s == 's' then till = redis.call('ZSCORE', base .. 'd', text(number)) end
  if record.call then
    till = redis.call('ZSCORE', base .. 'c', text(record.call))
  elseif record.s == 'l' then
    till = redis.call('ZSCORE', base .. 'l', text(number))
  end
  local dead = record.x or record.m
  return {
    number, record.s, tonumber(till), record.p, record.n, attempts_of(record), dead and cmsgpack.pack(dead) or false,
    record.err or false, fields, record.e0 or record.e,
  }
end

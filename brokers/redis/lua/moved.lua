-- Forgets a move that has arrived; or, if where it went is gone, keeps the task here as dead.
--
-- ARGV  the name of the move, 1 if it arrived and 0 if not

local packed = redis.call('HGET', base .. 'j', ARGV[1])
if not packed then return 0 end
redis.call('HDEL', base .. 'j', ARGV[1])
if not open() then return 1 end
set('moves', meta.moves - 1)
if ARGV[2] == '1' then
  save()
  return 1
end
local move = cmsgpack.unpack(packed)
local number = next_of('number')
local record = move.record
record.st, record.s, record.x = 'h', 'x', record.x or record.m
redis.call('XADD', base .. 'h', text(number), unpack(move.fields))
keep(number, record)
redis.call('ZADD', base .. 'x', record.x.t, text(number))
due_by(record.x.t + meta.dead_retention_us)
save()
return 1

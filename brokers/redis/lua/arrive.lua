-- Takes a task in that comes from another queue, or from the dead of this one. The same move twice is one.
--
-- ARGV  the name of the move, its content
-- Returns 1; 0 if there is no such queue.

if not open() then return 0 end
if redis.call('ZADD', base .. 'v', 'NX', now, ARGV[1]) == 0 then return 1 end
redis.call('ZREMRANGEBYSCORE', base .. 'v', '-inf', now - MOVES_US)
local move = cmsgpack.unpack(ARGV[2])
local old = move.record
local number = next_of('number')
local record = {
  st = 'h', p = old.p, n = old.n, c = old.n, f = 0, g = true, e = number, e0 = old.e0 or old.e, s = 'r',
  err = old.err,
}
if move.kind == 'dead' then record.m = old.x end
redis.call('XADD', base .. 'h', text(number), unpack(move.fields))
stream_of(record.p)
if meta.ordered then
  for i = 1, #move.fields, 2 do
    if move.fields[i] == 'partitionkey' then record.k = move.fields[i + 1] end
  end
  if record.k then redis.call('ZADD', base .. 'w', 0, lane_member(record.k, number)) end
end
come_to_live(number)
available(number, record, now)
told(1)
return 1

-- Makes a partition, unless it is there.
--
-- ARGV  what it is made of: pairs of a field of the meta hash and its value
-- Returns the spec and the id that it has, and whether it was made now.

local there = redis.call('HMGET', KEYS[1], 'spec', 'id')
if there[1] then return { there[1], there[2], 0 } end
local state = struct.pack(STATE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
redis.call('HSET', KEYS[1], 'paused', '0', 'state', state, unpack(ARGV))
pack_settings()
spread()
redis.call('XGROUP', 'CREATE', base .. 's0', GROUP, '0', 'MKSTREAM')
there = redis.call('HMGET', KEYS[1], 'spec', 'id')
return { there[1], there[2], 1 }

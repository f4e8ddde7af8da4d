-- How much is in a partition.
--
-- Returns {ready, scheduled, leased, dead, age of what has been available longest in microseconds or -1, paused}.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
-- One entry of `l` is no lease (spread.lua).
local leased, scheduled = redis.call('ZCARD', base .. 'l') - 1 + meta.called, redis.call('ZCARD', base .. 'd')
local oldest = -1
for _, level in ipairs(priorities()) do
  local turn = redis.call('ZRANGE', base .. 'a' .. level, 0, 0, 'WITHSCORES')
  if turn[1] then oldest = math.max(oldest, now - tonumber(turn[2])) end
  local fresh_one = redis.call('XRANGE', base .. 's' .. level, '(' .. group_place('s' .. level), '+', 'COUNT', 1)[1]
  if fresh_one then oldest = math.max(oldest, now - number_of(fresh_one[1])) end
end
return told({
  meta.live - leased - scheduled, scheduled, leased, redis.call('ZCARD', base .. 'x'), oldest, meta.paused and 1 or 0,
})

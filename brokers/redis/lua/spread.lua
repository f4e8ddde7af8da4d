-- What keeps records and leases from being lists.

-- WHY: Redis keeps a hash or a sorted set of up to 128 short entries as a list and walks it at every look. One entry of
-- more than 64 bytes makes it what a long one is, for as long as it is there (`hash-max-listpack-value` and
-- `zset-max-listpack-value` of redis.conf). On a server with larger ones all is well, but slower.
local function spread()
  local long = string.rep('-', 65)
  redis.call('HSET', base .. 't', 'spread', long)
  redis.call('ZADD', base .. 'l', text(NEVER), long)
end

-- Gives a partition another spec, if its revision is still the one that the caller knows.
--
-- ARGV  revision, then pairs of a field of the meta hash and its value
-- Returns the revision that it has now. A retention that is new is applied to what is there.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
local revision = redis.call('HGET', KEYS[1], 'revision')
if revision ~= ARGV[1] then return revision end
local fields = {}
for i = 2, #ARGV do fields[i - 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
local had = meta.retention_us
open()
if meta.retention_us >= 0 and had < 0 then
  local function enlist(stream)
    for _, entry in ipairs(redis.call('XRANGE', base .. stream, '-', '+')) do
      local number = number_of(entry[1])
      local record = record_of(number)
      if not record or record.s ~= 'x' then
        redis.call('ZADD', base .. 'r', record and record.e or number, text(number))
      end
    end
  end
  for _, level in ipairs(priorities()) do enlist('s' .. level) end
  enlist('h')
elseif meta.retention_us < 0 then
  redis.call('UNLINK', base .. 'r')
end
advance()
return redis.call('HGET', KEYS[1], 'revision')

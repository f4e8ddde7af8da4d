-- Gives a partition another spec: the first one if its revision is still the one that the caller knows, the others
-- if theirs is older, for they may have missed an update that was cut short.
--
-- ARGV  the revision that it must have, or '' for any before the new one; the new one; then pairs of a field of the
--       meta hash and its value
-- Returns 1 if it was done and the revision that it has now. A retention that is new is applied to what is there.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
local revision = redis.call('HGET', KEYS[1], 'revision')
if ARGV[1] ~= '' and revision ~= ARGV[1] then return { 0, revision } end
if tonumber(revision) >= tonumber(ARGV[2]) then return { 0, revision } end
redis.call('HSET', KEYS[1], 'revision', ARGV[2], unpack(ARGV, 3))
pack_settings()
local had = meta.retention_us
meta = nil
open()
-- WHY: another retention makes other times due.
set('due', 0)
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
save()
return { 1, ARGV[2] }

-- Drops all ready, scheduled and leased tasks and all dedup keys. The dead stay.
--
-- Returns how many tasks that were.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
local dead = {}
for _, name in ipairs(redis.call('ZRANGE', base .. 'x', 0, -1)) do
  local number = tonumber(name)
  local record = record_of(number)
  dead[#dead + 1] = { number = number, record = record, fields = fields_of(number, record) }
end
table.sort(dead, function(a, b) return a.number < b.number end)
local levels = priorities()
for _, level in ipairs(levels) do
  redis.call('UNLINK', base .. 's' .. level, base .. 'a' .. level)
  redis.call('XGROUP', 'CREATE', base .. 's' .. level, GROUP, '0', 'MKSTREAM')
end
for _, letter in ipairs({ 'h', 't', 'l', 'c', 'ci', 'd', 'r', 'w', 'k', 'q', 'u', 'ue', 'b', 'be' }) do
  redis.call('UNLINK', base .. letter)
end
spread()
set('called', 0)
for _, one in ipairs(dead) do
  one.record.st = 'h'
  redis.call('XADD', base .. 'h', text(one.number), unpack(one.fields))
  keep(one.number, one.record)
end
local purged = meta.live
live(-purged)
return told(purged)

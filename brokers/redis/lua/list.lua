-- A page of a partition's tasks, by number.
--
-- ARGV  the number after which it begins, most tasks, one state or '' for all
-- Returns the tasks, and the number after which the next page begins, or -1.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
local STEP, STEPS_MAX = 100, 50
local after, limit, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local streams = { 'h' }
for _, level in ipairs(priorities()) do streams[#streams + 1] = 's' .. level end
local rows = {}
for _ = 1, STEPS_MAX do
  local found, sure = {}, math.huge
  for _, stream in ipairs(streams) do
    local entries = redis.call('XRANGE', base .. stream, '(' .. text(after), '+', 'COUNT', STEP)
    for _, entry in ipairs(entries) do found[#found + 1] = { number_of(entry[1]), stream, entry[2] } end
    if #entries == STEP then sure = math.min(sure, number_of(entries[STEP][1])) end
  end
  table.sort(found, function(a, b) return a[1] < b[1] end)
  for _, entry in ipairs(found) do
    if entry[1] > sure then break end
    if #rows == limit then return told({ rows, after }) end
    after = entry[1]
    local record = record_of(after) or fresh(after, entry[2], tonumber(string.sub(entry[2], 2)) or 0)
    if wanted == '' or wanted == record.s then rows[#rows + 1] = view(after, record, entry[3]) end
  end
  if sure == math.huge then return told({ rows, -1 }) end
end
return told({ rows, after })

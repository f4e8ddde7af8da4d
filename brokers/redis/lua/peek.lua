-- What a partition would hand out next, as if every receive took all it can of a key.
--
-- ARGV  most tasks
-- Returns the tasks in that order.

if not open() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
local limit = tonumber(ARGV[1])
local rows = {}
for _, level in ipairs(priorities()) do
  local stream, found = 's' .. level, {}
  local turns = redis.call('ZRANGE', base .. 'a' .. level, 0, limit, 'WITHSCORES')
  for i = 1, #turns, 2 do found[#found + 1] = { tonumber(turns[i + 1]), turns[i] } end
  local entries = redis.call('XRANGE', base .. stream, '(' .. group_place(stream), '+', 'COUNT', limit)
  for _, entry in ipairs(entries) do found[#found + 1] = { number_of(entry[1]), false, entry[2] } end
  table.sort(found, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return (a[2] or '~') < (b[2] or '~')
  end)
  for _, one in ipairs(found) do
    if #rows >= limit then break end
    local turn = one[2]
    if not turn then
      rows[#rows + 1] = view(one[1], record_of(one[1]) or fresh(one[1], stream, tonumber(level)), one[3])
    else
      local number, key = tonumber(string.sub(turn, 1, 17)), string.sub(turn, 18)
      local members = key == '' and { number } or lane_head(key, limit - #rows)
      for _, member in ipairs(members) do
        local record = record_of(member)
        if record.s ~= 'r' then break end
        rows[#rows + 1] = view(member, record, fields_of(member, record))
      end
    end
  end
end
return told(rows)

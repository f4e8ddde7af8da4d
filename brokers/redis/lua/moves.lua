-- The tasks on their way out of a partition.
--
-- ARGV  most of them
-- Returns for each {name, the queue it goes to, its ordering key or false, content}.

local moves = redis.call('HRANDFIELD', base .. 'j', tonumber(ARGV[1]), 'WITHVALUES')
local rows = {}
for i = 1, #moves, 2 do
  local move = cmsgpack.unpack(moves[i + 1])
  local key = false
  for field = 1, #move.fields, 2 do
    if move.fields[field] == 'partitionkey' then key = move.fields[field + 1] end
  end
  rows[#rows + 1] = { moves[i], move.to, key, moves[i + 1] }
end
return rows

-- Hands out tasks: the highest priority first, then what has been available longest.
--
-- ARGV  most tasks, lease_us or -1 for the queue's, most tasks of one key, the consumer's name, the receive's own name
--       or nothing, and with a name whether what an earlier one of it was handed is wanted: 'again' or nothing, 'new'
--       tasks only, or 'either'; bytes of tasks after which no more are handed out, above zero
-- Returns the leases; their length; where nothing was handed out how long until something may be due, in microseconds,
-- else -1; the queue's id; the time; the fence of what was handed out now. A lease is its number, fence, priority,
-- deliveries, attempts, record of a move or false, last error or false, when it was first sent, the number of its
-- fields, and names and values. One of a task of which nothing was known but what was sent has that fence, and is the
-- id of its entry, then either the values of the fields id, type and data, if it has no others and no priority, or the
-- priority, the number of its fields, and names and values.

if not begin() then return redis.error_reply('NOQUEUE there is no such queue') end
advance()
local per_key, wanted = tonumber(ARGV[3]), ARGV[6]

local function hand_out_again(number)
  local record = record_of(number)
  timed[#timed + 1], timed[#timed + 2] = till, text(number)
  add(number, record, fields_of(number, record))
end

local function take(level, turn)
  local number, key = tonumber(string.sub(turn, 1, 17)), string.sub(turn, 18)
  if key == '' then
    redis.call('ZREM', base .. 'a' .. level, turn)
    local record = record_of(number)
    hand_out(text(number), number, record, fields_of(number, record))
    return
  end
  for _, member in ipairs(lane_head(key, math.min(per_key, want))) do
    local record = record_of(member)
    if record.s ~= 'r' or not has_room() then break end
    redis.call('HINCRBY', base .. 'k', key, 1)
    hand_out(text(member), member, record, fields_of(member, record))
  end
  refresh(key, now)
end

local before = name ~= '' and wanted ~= 'new' and given_before(name) or {}
local is_again = #before > 0 and #before <= want
if is_again then
  for _, number in ipairs(before) do hand_out_again(number) end
elseif wanted ~= 'again' and not meta.paused then
  for _, level in ipairs(priorities()) do
    local stream = 's' .. level
    while has_room() do
      local turn = redis.call('ZRANGE', base .. 'a' .. level, 0, 0, 'WITHSCORES')
      if not turn[1] then
        if read(stream, tonumber(level), fitting()) == 0 then break end
      else
        local fresh_one = redis.call('XRANGE', base .. stream, '(' .. group_place(stream), '+', 'COUNT', 1)[1]
        if fresh_one and number_of(fresh_one[1]) < tonumber(turn[2]) then
          read(stream, tonumber(level), 1)
        else
          take(level, turn[1])
        end
      end
    end
    if not has_room() then break end
  end
end
if #numbers > 0 and name ~= '' then remember_attempt(name, numbers, fences, now + lease_us) end
return handed_out()
